using InterpreterKernel.Protocol.Envd;
using InterpreterKernel.Sandbox.Http;
using InterpreterKernel.Sandbox.Processes;

namespace InterpreterKernel.Sandbox;

/// <summary>The processes of a sandbox.</summary>
public sealed class Commands
{
    private static readonly TimeSpan s_defaultTimeout = TimeSpan.FromSeconds(60);

    /// <summary>The sandbox kills the leader of a command this long after we should have, in case we are gone by then.</summary>
    private static readonly TimeSpan s_backstop = TimeSpan.FromSeconds(5);

    internal Commands(EnvdClient envd)
    {
        Envd = envd;
    }

    internal EnvdClient Envd { get; }

    /// <summary>Starts a process; returns when it has started.</summary>
    public Task<SandboxProcess> StartAsync(ProcessStart start, CancellationToken ct = default)
    {
        ArgumentNullException.ThrowIfNull(start);
        return OpenAsync(Envd, start, $"Starting {start.Cmd}", ct);
    }

    /// <summary>
    /// Starts a shell command in the background, in a session of its own, so that
    /// <see cref="SandboxProcess.KillTreeAsync"/> ends all of it.
    /// </summary>
    public Task<SandboxProcess> StartAsync(string cmd, CommandOptions? options = null, CancellationToken ct = default)
    {
        options ??= new CommandOptions();
        var timeout = options.Timeout is { } t && t > TimeSpan.Zero ? t : (TimeSpan?)null;
        return OpenAsync(Envd, Shell(cmd, options, timeout), "Starting a command", ct);
    }

    /// <summary>
    /// Runs a shell command to its end. A non-zero exit code is a result, not an exception
    /// (<see cref="CommandResult.EnsureSuccess"/> makes it one). When its time is over or <paramref name="ct"/> is cancelled,
    /// it and everything it has started is killed.
    /// </summary>
    /// <exception cref="ExecutionTimeoutException">It ran longer than <see cref="CommandOptions.Timeout"/>.</exception>
    public async Task<CommandResult> RunAsync(string cmd, CommandOptions? options = null, CancellationToken ct = default)
    {
        options ??= new CommandOptions();
        var timeout = options.Timeout ?? s_defaultTimeout;
        timeout = timeout > TimeSpan.Zero ? timeout : Timeout.InfiniteTimeSpan;
        var start = Shell(cmd, options, timeout == Timeout.InfiniteTimeSpan ? null : timeout + s_backstop);
        await using var process = await OpenAsync(Envd, start, "Starting a command", ct);
        using var limit = new CancellationTokenSource(timeout, Envd.Connection.TimeProvider);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(limit.Token, ct);
        var stdout = new OutputText(options.MaxOutputBytes, options.OnStdout);
        var stderr = new OutputText(options.MaxOutputBytes, options.OnStderr);
        try
        {
            await foreach (var output in process.ReadAsync(stop.Token))
            {
                switch (output)
                {
                    case ProcessOutput.Stdout(var data):
                        stdout.Add(data.Span);
                        break;
                    case ProcessOutput.Stderr(var data):
                        stderr.Add(data.Span);
                        break;
                }
            }
        }
        catch (Exception e) when (e is not SandboxException || e is ExecutionTimeoutException)
        {
            // Its time is over, it is not wanted any more, or a callback failed: nothing of it may run on.
            var (gone, said) = await ProcessTree.StopAsync(Envd, process.Pid, options.User);
            if (ct.IsCancellationRequested)
            {
                throw new OperationCanceledException($"Running the command was cancelled by its caller. {said}", e, ct);
            }

            if (!limit.IsCancellationRequested && e is not ExecutionTimeoutException)
            {
                throw;
            }

            throw new ExecutionTimeoutException(
                $"The command ran longer than its execution timeout of {Failure.Seconds(timeout)}. {said} Give it more time, or less to do.", timeout, gone, e)
            {
                Stdout = stdout.Finish(),
                Stderr = stderr.Finish(),
            };
        }

        var ended = process.Result!;
        return new CommandResult(ended.ExitCode, stdout.Finish(), stderr.Finish(), ended.Error) { Truncated = stdout.Truncated || stderr.Truncated };
    }

    /// <summary>
    /// Connects to a process that runs already. Its output comes from now on; nothing is repeated. For half a minute after
    /// its end, its exit code can still be had in this way.
    /// </summary>
    public Task<SandboxProcess> ConnectAsync(uint pid, CancellationToken ct = default)
    {
        var message = ConnectContent.Envelope(new ConnectRequest { Process = ProcessCalls.Selector(pid) });
        return SandboxProcess.OpenAsync(
            Envd, ProcessCalls.Service + "Connect", message, $"Connecting to process {pid}", start: null, ct);
    }

    /// <summary>The processes that were started through the sandbox's daemon and still run.</summary>
    public Task<IReadOnlyList<ProcessDescription>> ListAsync(CancellationToken ct = default) => ProcessCalls.ListAsync(Envd, ct);

    /// <summary>Sends input to a process and waits until its pipe has taken it.</summary>
    public Task SendInputAsync(uint pid, ReadOnlyMemory<byte> data, CancellationToken ct = default) =>
        ProcessCalls.SendInputAsync(Envd, pid, data, terminal: false, ct);

    /// <summary>Sends a signal to a process: that one only, not what it has started.</summary>
    /// <returns>False when there is no such process any more.</returns>
    public Task<bool> SendSignalAsync(uint pid, ProcessSignal signal, CancellationToken ct = default) => ProcessCalls.SendSignalAsync(Envd, pid, signal, ct);

    /// <summary>Kills a process: that one only, not what it has started.</summary>
    /// <returns>False when there is no such process any more.</returns>
    public Task<bool> KillAsync(uint pid, CancellationToken ct = default) => SendSignalAsync(pid, ProcessSignal.Kill, ct);

    /// <summary>Ends the standard input of a process.</summary>
    public Task CloseStdinAsync(uint pid, CancellationToken ct = default) => ProcessCalls.CloseStdinAsync(Envd, pid, ct);

    internal static Task<SandboxProcess> OpenAsync(EnvdClient envd, ProcessStart start, string doing, CancellationToken ct)
    {
        var request = new StartRequest { Process = new ProcessConfig { Cmd = start.Cmd }, Stdin = start.Stdin };
        request.Process.Args.AddRange(start.Args);
        foreach (var (name, value) in start.Envs)
        {
            request.Process.Envs.Add(name, value);
        }

        if (start.Cwd is { } cwd)
        {
            request.Process.Cwd = cwd;
        }

        if (start.Tag is { } tag)
        {
            request.Tag = tag;
        }

        if (start.Terminal is { } size)
        {
            request.Pty = ProcessCalls.Terminal(size);
        }

        return SandboxProcess.OpenAsync(
            envd, ProcessCalls.Service + "Start", ConnectContent.Envelope(request), doing, start, ct);
    }

    // A login shell, as E2B's SDKs use, in a session of its own.
    private static ProcessStart Shell(string cmd, CommandOptions options, TimeSpan? timeout) => ProcessTree.Wrap(new ProcessStart("/bin/bash", ["-l", "-c", cmd])
    {
        Envs = options.Envs,
        Cwd = options.Cwd,
        User = options.User,
        Stdin = options.Stdin,
        Timeout = timeout,
    });
}
