using System.Buffers;
using System.Collections.Immutable;
using System.Diagnostics.CodeAnalysis;
using InterpreterKernel.SandboxHost.Agent;
using InterpreterKernel.SandboxHost.Isolation;
using InterpreterKernel.SandboxHost.Native;
using Microsoft.Win32.SafeHandles;

namespace InterpreterKernel.SandboxHost.Sandboxes;

/// <summary>What to start. <c>Listen</c>: with a socket that listens in place of the pipe for standard input.</summary>
internal sealed record ProcessRequest(
    string Command,
    IReadOnlyList<string> Arguments,
    IReadOnlyDictionary<string, string> RequestedEnvironment,
    string? RequestedCwd,
    IReadOnlyList<string> Environment,
    string Cwd,
    bool Stdin,
    bool Listen,
    string? Tag,
    TerminalSize? Terminal);

/// <summary>
/// One process of a sandbox as envd shows it: output goes to whoever is subscribed at that moment and is discarded when
/// nobody is; the end is told after its outputs are at their end, or right after a signal of ours took effect. (envd waits
/// for those who hold a killed process's terminal, even for ever; nobody can want that.)
/// </summary>
[SuppressMessage("Design", "CA1001", Justification = "The semaphore never makes a wait handle, and writers may still be at it when the process ends.")]
internal sealed class LocalProcess
{
    /// <summary>envd's own bound for one event.</summary>
    private const int MaxPiece = 32 * 1024;

    /// <summary>After a kill, output of survivors is taken up to what a pipe holds, then they are cut off.</summary>
    private const int AfterKill = 64 * 1024;

    private readonly AgentLink _agent;
    private readonly AgentChild _child;
    private readonly (PolledDescriptor Source, OutputKind Kind)[] _outputs;
    private readonly SemaphoreSlim _inputGate = new(1, 1);
    private readonly Lock _gate = new();
    private ImmutableArray<Subscription> _subscriptions = [];
    private PolledDescriptor? _stdin;
    private StandardInputSocket? _socket;
    private volatile bool _signalled;
    private bool _finished;

    private LocalProcess(ProcessRequest request, AgentLink agent, AgentChild child, PolledDescriptor? stdin, params (PolledDescriptor, OutputKind)[] outputs)
    {
        Request = request;
        _agent = agent;
        _child = child;
        _stdin = stdin;
        _outputs = outputs;
    }

    internal ProcessRequest Request { get; }

    internal uint Pid => _child.Pid;

    /// <summary>Where its standard input listens; null where that is a pipe, or nothing.</summary>
    internal string? SocketPath => _socket?.Path;

    /// <summary>How it ended; null while it runs, and when its sandbox was killed under it.</summary>
    internal ProcessEnd? End { get; private set; }

    /// <summary>Ends with the process; never fails.</summary>
    internal Task Completion { get; private set; } = Task.CompletedTask;

    /// <summary>Starts it, with a first subscription made before any output can be missed.</summary>
    internal static async Task<(LocalProcess Process, Subscription Subscription)> StartAsync(Container container, Poller poller, ProcessRequest request)
    {
        var process = await (request.Terminal is { } size ? StartAtTerminalAsync(container, poller, request, size) : StartOnPipesAsync(container, poller, request));
        var subscription = process.Subscribe();
        process.Completion = process.RunAsync();
        return (process, subscription);
    }

    private static async Task<LocalProcess> StartOnPipesAsync(Container container, Poller poller, ProcessRequest request)
    {
        var socket = request.Listen ? StandardInputSocket.TryListen(container.Directory) : null;
        using var stdin = request.Stdin && socket is null ? container.CreatePipe() : null;
        using var stdout = container.CreatePipe();
        using var stderr = container.CreatePipe();
        SafeFileHandle[] inputs = socket is not null ? [socket.Handle] : stdin is not null ? [stdin.Read] : [];
        AgentChild child;
        try
        {
            child = await container.Agent.StartAsync(
                request.Cwd, [request.Command, .. request.Arguments], request.Environment, [.. inputs, stdout.Write, stderr.Write]);
        }
        catch
        {
            socket?.Dispose();
            throw;
        }

        return new LocalProcess(
            request,
            container.Agent,
            child,
            stdin is null ? null : new PolledDescriptor(poller, stdin.TakeWrite(), forWriting: true),
            (new PolledDescriptor(poller, stdout.TakeRead(), forWriting: false), OutputKind.Stdout),
            (new PolledDescriptor(poller, stderr.TakeRead(), forWriting: false), OutputKind.Stderr))
        {
            _socket = socket,
        };
    }

    private static async Task<LocalProcess> StartAtTerminalAsync(Container container, Poller poller, ProcessRequest request, TerminalSize size)
    {
        using var typed = container.CreatePipe();
        using var shown = container.CreatePipe();
        var child = await container.Agent.StartAtTerminalAsync(
            size, request.Cwd, [request.Command, .. request.Arguments], request.Environment, [typed.Read, shown.Write]);
        return new LocalProcess(
            request,
            container.Agent,
            child,
            new PolledDescriptor(poller, typed.TakeWrite(), forWriting: true),
            (new PolledDescriptor(poller, shown.TakeRead(), forWriting: false), OutputKind.Pty));
    }

    /// <summary>Attaches a reader; of a process that has ended it gets the end only.</summary>
    internal Subscription Subscribe()
    {
        var subscription = new Subscription(this);
        lock (_gate)
        {
            if (_finished)
            {
                subscription.Complete();
            }
            else
            {
                _subscriptions = _subscriptions.Add(subscription);
            }
        }

        return subscription;
    }

    internal void Unsubscribe(Subscription subscription)
    {
        lock (_gate)
        {
            _subscriptions = _subscriptions.Remove(subscription);
        }
    }

    /// <summary>Writes to standard input or the terminal, waiting for as long as the process does not read.</summary>
    /// <exception cref="IOException">There is no standard input, or nobody reads it any more.</exception>
    internal async Task WriteInputAsync(ReadOnlyMemory<byte> data)
    {
        await _inputGate.WaitAsync();
        try
        {
            await (_stdin ?? throw new IOException("stdin not enabled or closed")).WriteAsync(data);
        }
        finally
        {
            _inputGate.Release();
        }
    }

    /// <summary>Closes standard input after what is being written; again does nothing.</summary>
    internal async Task CloseInputAsync()
    {
        await _inputGate.WaitAsync();
        try
        {
            _stdin?.Dispose();
            _stdin = null;
        }
        finally
        {
            _inputGate.Release();
        }
    }

    /// <summary>Signals this one process, not its children. Its end is then told without waiting for who else holds its pipes.</summary>
    internal async Task SignalAsync(int signal)
    {
        _signalled = true;
        await _agent.SignalAsync(_child, signal);
        if (_child.Exited.IsCompleted)
        {
            CutOff();
        }
    }

    /// <summary>Changes the size of its terminal.</summary>
    internal Task ResizeAsync(TerminalSize size) => _agent.ResizeAsync(_child, size);

    private async Task RunAsync()
    {
        // 1. All output flows until its end; 2. the process itself ends, in whichever order.
        var flowing = Task.WhenAll(_outputs.Select(output => PumpAsync(output.Source, output.Kind)));
        ProcessEnd? end = null;
        try
        {
            end = ProcessEnd.FromWaitStatus(await _child.Exited);
            if (_signalled)
            {
                CutOff();
            }

            await flowing;
        }
        catch (IOException)
        {
            // The sandbox was killed: its streams are cut by whoever killed it, without an end event.
            CutOff();
        }

        // 3. The end goes to everyone, behind all output.
        ImmutableArray<Subscription> subscriptions;
        lock (_gate)
        {
            End = end;
            _finished = true;
            subscriptions = _subscriptions;
        }

        foreach (var (source, _) in _outputs)
        {
            source.Dispose();
        }

        _stdin?.Dispose();
        _socket?.Dispose();
        _socket = null;     // who connects now is told how it ended, and not where it listened
        foreach (var subscription in subscriptions)
        {
            // Complete lets a reader take what is queued first, then it looks at End.
            subscription.Complete();
        }
    }

    private async Task PumpAsync(PolledDescriptor source, OutputKind kind)
    {
        var buffer = ArrayPool<byte>.Shared.Rent(MaxPiece);
        var budget = AfterKill;
        try
        {
            while (budget > 0 && await source.ReadAsync(buffer.AsMemory(0, MaxPiece)) is > 0 and var count)
            {
                if (_signalled && _child.Exited.IsCompleted)
                {
                    budget -= count;
                }

                foreach (var subscription in _subscriptions)
                {
                    await subscription.DeliverAsync(ProcessOutput.Copy(kind, buffer.AsSpan(0, count)));
                }
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private void CutOff()
    {
        foreach (var (source, _) in _outputs)
        {
            source.CutOff();
        }
    }
}
