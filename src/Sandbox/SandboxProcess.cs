using System.Runtime.CompilerServices;
using InterpreterKernel.Sandbox.Http;
using InterpreterKernel.Sandbox.Processes;

namespace InterpreterKernel.Sandbox;

/// <summary>
/// A process in the sandbox and the stream of its output. Disposing ends the stream, by closing its connection, and leaves
/// the process alone; output that nobody listens to is thrown away by the sandbox.
/// </summary>
/// <remarks>
/// Read promptly: a connected reader that does not read stalls the process and all its other readers after a few MiB.
/// </remarks>
public sealed class SandboxProcess : IAsyncDisposable
{
    private readonly EnvdClient _envd;
    private readonly EnvelopeStream _events;
    private readonly bool _hasTerminal;
    private readonly string? _user;
    private ProcessOutput.Ended? _ended;

    private SandboxProcess(EnvdClient envd, EnvelopeStream events, uint pid, bool hasTerminal, string? user, string? socket)
    {
        _envd = envd;
        _events = events;
        _hasTerminal = hasTerminal;
        _user = user;
        Pid = pid;
        Socket = socket;
    }

    /// <summary>Its process id, as seen inside the sandbox.</summary>
    public uint Pid { get; }

    /// <summary>The path on this machine of the socket that its standard input listens on; null where that is a pipe, or nothing.</summary>
    public string? Socket { get; }

    /// <summary>How it ended, once <see cref="ReadAsync"/> has told.</summary>
    public ProcessOutput.Ended? Result => _ended;

    internal static async Task<SandboxProcess> OpenAsync(
        EnvdClient envd, string method, byte[] envelope, string doing, ProcessStart? start, CancellationToken ct)
    {
        using var clock = new CallClock(envd.Connection, ct);
        EnvelopeStream? events = null;
        try
        {
            var response = await envd.OpenStreamAsync(
                method, envelope, ConnectContent.Stream, doing, start?.User, start?.Timeout, start?.Listen == true, clock.Token);
            var socket = envd.Connection.UnixSocket is not null && response.Headers.TryGetValues(EnvdClient.SocketHeader, out var paths) ? paths.First() : null;
            events = await EnvelopeStream.OpenAsync(response, envd.Connection, clock.Token);
            var first = await NextEventAsync(events, clock.Token)
                ?? throw new InvalidDataException("the stream ended before the process started");
            if (first.Kind != ProcessEventKind.Start)
            {
                throw new InvalidDataException("the first event is not the start of the process");
            }

            return new SandboxProcess(envd, events, first.Pid, start?.Terminal is not null, start?.User, socket);
        }
        catch (Exception e)
        {
            if (events is not null)
            {
                await events.DisposeAsync();
            }

            throw e is StreamEndedException ended
                ? await envd.WithProbeAsync(Failure.OfConnect(ended.Error, doing, null, envd.Secrets), doing)
                : await envd.ExplainAsync(e, clock, doing);
        }
    }

    /// <summary>
    /// What the process does from now on, ending with <see cref="ProcessOutput.Ended"/>. One reader at a time; the bytes of
    /// an output are valid until the next one is asked for. Cancelling ends the stream for good.
    /// </summary>
    /// <exception cref="SandboxLostException">The sandbox is gone.</exception>
    /// <exception cref="ExecutionTimeoutException"><see cref="ProcessStart.Timeout"/> ran out.</exception>
    /// <exception cref="SandboxException">
    /// <see cref="SandboxFault.Unreachable"/>: the stream broke off or fell silent. The process may still run: connect to it by
    /// its pid. What it prints in between is lost.
    /// </exception>
    public async IAsyncEnumerable<ProcessOutput> ReadAsync([EnumeratorCancellation] CancellationToken ct = default)
    {
        if (_ended is not null)
        {
            yield break;
        }

        using var stop = CancellationTokenSource.CreateLinkedTokenSource(ct, _events.Silence, _events.Closed);
        while (true)
        {
            var output = await NextAsync(stop.Token, ct);
            yield return output;
            if (output is ProcessOutput.Ended)
            {
                yield break;
            }
        }
    }

    /// <summary>Reads to the end, throwing the output away.</summary>
    public async Task<ProcessOutput.Ended> WaitAsync(CancellationToken ct = default)
    {
        await foreach (var output in ReadAsync(ct))
        {
            if (output is ProcessOutput.Ended ended)
            {
                return ended;
            }
        }

        return _ended!;
    }

    /// <summary>
    /// Opens one long request over which input is sent, in order and without waiting for answers. The quickest way to talk
    /// to a process.
    /// </summary>
    public Task<InputStream> OpenInputAsync(CancellationToken ct = default) => InputStream.OpenAsync(_envd, Pid, _hasTerminal, ct);

    /// <summary>Sends input and waits until the process's pipe has taken it.</summary>
    public Task SendInputAsync(ReadOnlyMemory<byte> data, CancellationToken ct = default) =>
        ProcessCalls.SendInputAsync(_envd, Pid, data, _hasTerminal, ct);

    /// <summary>Ends its standard input.</summary>
    public Task CloseStdinAsync(CancellationToken ct = default) => ProcessCalls.CloseStdinAsync(_envd, Pid, ct);

    /// <summary>Sends it a signal: that one process only, not what it has started.</summary>
    /// <returns>False when there is no such process any more.</returns>
    public Task<bool> SendSignalAsync(ProcessSignal signal, CancellationToken ct = default) => ProcessCalls.SendSignalAsync(_envd, Pid, signal, ct);

    /// <summary>Kills it: that one process only, not what it has started.</summary>
    /// <returns>False when there is no such process any more.</returns>
    public Task<bool> KillAsync(CancellationToken ct = default) => SendSignalAsync(ProcessSignal.Kill, ct);

    /// <summary>
    /// Kills it and everything it has started: its session, its process group and all their descendants.
    /// </summary>
    /// <returns>True when none of them is left.</returns>
    public Task<bool> KillTreeAsync(CancellationToken ct = default) => ProcessTree.KillAsync(_envd, Pid, _user, ct);

    /// <summary>Changes the size of its terminal.</summary>
    public Task ResizeAsync(TerminalSize size, CancellationToken ct = default) => ProcessCalls.ResizeAsync(_envd, Pid, size, ct);

    /// <summary>Ends the stream by closing its connection. The process runs on.</summary>
    public ValueTask DisposeAsync() => _events.DisposeAsync();

    private async ValueTask<ProcessOutput> NextAsync(CancellationToken stop, CancellationToken caller)
    {
        try
        {
            var e = await NextEventAsync(_events, stop) ?? throw new InvalidDataException("the stream ended without telling how the process ended");
            return e.Kind switch
            {
                ProcessEventKind.Stdout => new ProcessOutput.Stdout(e.Data),
                ProcessEventKind.Stderr => new ProcessOutput.Stderr(e.Data),
                ProcessEventKind.Pty => new ProcessOutput.Pty(e.Data),
                ProcessEventKind.End => _ended = e.End!,
                _ => throw new InvalidDataException("a process started twice in one stream"),
            };
        }
        catch (InvalidOperationException)
        {
            throw; // two readers: the caller's mistake, and no fault of the stream
        }
        catch (Exception e)
        {
            throw await _events.ExplainAsync(
                e,
                _envd,
                $"Reading the output of process {Pid}",
                "The process may still run: connect to it by its pid. What it prints meanwhile is lost.",
                caller);
        }
    }

    // Keepalives have done their work by arriving; events that only a newer daemon knows are not for us.
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private static async ValueTask<ProcessEvent?> NextEventAsync(EnvelopeStream events, CancellationToken stop)
    {
        while (await events.ReadAsync(stop) is { } message)
        {
            var e = ProcessEvent.Parse(message);
            if (e.Kind is not (ProcessEventKind.Keepalive or ProcessEventKind.Unknown))
            {
                return e;
            }
        }

        return null;
    }
}
