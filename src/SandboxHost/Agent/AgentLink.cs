using System.Collections.Concurrent;
using System.Globalization;
using Microsoft.Win32.SafeHandles;

namespace InterpreterKernel.SandboxHost.Agent;

/// <summary>
/// What the host can ask of a sandbox's agent (process 1 in there): start a program or a file task, send a signal.
/// Everything it answers may be forged by what runs in the sandbox, so an answer can at worst harm that sandbox.
/// </summary>
internal sealed class AgentLink : IDisposable
{
    private readonly AgentSocket _socket;
    private readonly SemaphoreSlim _sending = new(1, 1);
    private readonly ConcurrentDictionary<uint, AgentChild> _children = new();
    private readonly TaskCompletionSource<AgentReady> _ready = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private uint _lastRequest;

    internal AgentLink(AgentSocket socket)
    {
        _socket = socket;
        Completion = ReceiveAsync();
    }

    /// <summary>The agent's greeting.</summary>
    internal Task<AgentReady> Ready => _ready.Task;

    /// <summary>Ends when the agent is gone (or talks nonsense, which counts the same); never fails.</summary>
    internal Task Completion { get; }

    public void Dispose() => _socket.Dispose();

    /// <summary>Starts a program; the descriptors become its 0 (left out: /dev/null), 1 and 2.</summary>
    /// <exception cref="AgentRefusedException">It could not be started.</exception>
    /// <exception cref="IOException">The sandbox is gone.</exception>
    internal Task<AgentChild> StartAsync(string cwd, IReadOnlyList<string> arguments, IEnumerable<string> environment, IReadOnlyList<SafeFileHandle> descriptors) =>
        RequestAsync(AgentFrame.Spawn, [cwd, arguments.Count.ToString(CultureInfo.InvariantCulture), .. arguments, .. environment], descriptors);

    /// <summary>Starts a program at a terminal of its own; the descriptors are a pipe with what is typed, and one for what is shown.</summary>
    /// <inheritdoc cref="StartAsync"/>
    internal Task<AgentChild> StartAtTerminalAsync(
        TerminalSize size, string cwd, IReadOnlyList<string> arguments, IEnumerable<string> environment, IReadOnlyList<SafeFileHandle> descriptors) =>
        RequestAsync(
            AgentFrame.Terminal,
            [.. size.Fields, cwd, arguments.Count.ToString(CultureInfo.InvariantCulture), .. arguments, .. environment],
            descriptors);

    /// <summary>Changes the size of a program's terminal.</summary>
    internal Task ResizeAsync(AgentChild child, TerminalSize size) => SendAsync(AgentFrame.Encode(AgentFrame.Resize, 0, child.Request, size.Fields), []);

    /// <summary>Starts a file task; the last descriptor takes its answer.</summary>
    /// <inheritdoc cref="StartAsync"/>
    internal Task<AgentChild> StartTaskAsync(IReadOnlyList<string> nameAndArguments, IReadOnlyList<SafeFileHandle> descriptors) =>
        RequestAsync(AgentFrame.Task, nameAndArguments, descriptors);

    /// <summary>Sends a signal to that process alone. To one that has ended it does nothing.</summary>
    internal Task SignalAsync(AgentChild child, int signal) =>
        SendAsync(AgentFrame.Encode(AgentFrame.Signal, 0, child.Request, [signal.ToString(CultureInfo.InvariantCulture)]), []);

    /// <summary>Asks for a TCP socket of the sandbox's network; it comes through the given end of a unix socket, or that end is closed.</summary>
    internal Task AskSocketAsync(bool version6, SafeFileHandle way) =>
        SendAsync(AgentFrame.Encode(AgentFrame.Socket, 1, Interlocked.Increment(ref _lastRequest), [version6 ? "6" : "4"]), [way]);

    /// <summary>Asks how full the home is: two numbers of 8 bytes, big-endian, used and total, come through the given end of a pipe.</summary>
    internal Task AskDiskAsync(SafeFileHandle answer) =>
        SendAsync(AgentFrame.Encode(AgentFrame.Disk, 1, Interlocked.Increment(ref _lastRequest), []), [answer]);

    private async Task<AgentChild> RequestAsync(byte kind, IReadOnlyList<string> fields, IReadOnlyList<SafeFileHandle> descriptors)
    {
        var child = new AgentChild(Interlocked.Increment(ref _lastRequest));
        var frame = AgentFrame.Encode(kind, descriptors.Count, child.Request, fields);
        if (frame.Length > AgentFrame.MaxToAgent)
        {
            throw new AgentRefusedException("size", "argument list too long");
        }

        _children[child.Request] = child;
        try
        {
            await SendAsync(frame, descriptors);
            if (Completion.IsCompleted)
            {
                // The receiving loop may have failed everyone just before this one was listed.
                FailAll();
            }

            await child.Started;
            return child;
        }
        catch
        {
            _children.TryRemove(child.Request, out _);
            throw;
        }
    }

    private async Task SendAsync(byte[] frame, IReadOnlyList<SafeFileHandle> descriptors)
    {
        await _sending.WaitAsync();
        try
        {
            await _socket.SendAsync(frame, descriptors);
        }
        finally
        {
            _sending.Release();
        }
    }

    private async Task ReceiveAsync()
    {
        var buffer = new byte[4096];
        var filled = 0;
        try
        {
            while (true)
            {
                var count = await _socket.ReadAsync(buffer.AsMemory(filled));
                if (count == 0)
                {
                    break;
                }

                filled += count;
                var used = 0;
                while (AgentFrame.TryDecode(buffer.AsSpan(used, filled - used), out var kind, out var request, out var fields) is > 0 and var size)
                {
                    Handle(kind, request, fields);
                    used += size;
                }

                buffer.AsSpan(used, filled - used).CopyTo(buffer);
                filled -= used;
                if (filled == buffer.Length)
                {
                    // Bounded: a frame over MaxFromAgent does not decode.
                    Array.Resize(ref buffer, buffer.Length * 2);
                }
            }
        }
        catch (InvalidDataException e)
        {
            _ready.TrySetException(e);
        }
        finally
        {
            _ready.TrySetException(new IOException("the sandbox's agent ended before it was ready"));
            FailAll();
        }
    }

    private void Handle(byte kind, uint request, string[] fields)
    {
        if (kind == AgentFrame.Ready)
        {
            _ready.TrySetResult(new AgentReady(fields is ["1", ..], fields.Length > 1 ? fields[1] : "?"));
            return;
        }

        if (!_children.TryGetValue(request, out var child))
        {
            return;
        }

        switch (kind)
        {
            case AgentFrame.Started when fields.Length == 1 && int.TryParse(fields[0], CultureInfo.InvariantCulture, out var pid) && pid > 0:
                child.SetStarted((uint)pid);
                break;
            case AgentFrame.Failed when fields.Length == 2:
                child.Fail(new AgentRefusedException(fields[0], fields[1]));
                _children.TryRemove(request, out _);
                break;
            case AgentFrame.Exited when fields.Length == 1 && int.TryParse(fields[0], CultureInfo.InvariantCulture, out var status):
                child.SetExited(status);
                _children.TryRemove(request, out _);
                break;
            default:
                throw new InvalidDataException($"the sandbox's agent sent a frame of kind {kind} with {fields.Length} fields");
        }
    }

    private void FailAll()
    {
        foreach (var (request, child) in _children)
        {
            child.Fail(new IOException("the sandbox is gone"));
            _children.TryRemove(request, out _);
        }
    }
}

/// <summary>How many characters a terminal shows.</summary>
internal readonly record struct TerminalSize(uint Rows, uint Columns)
{
    internal IReadOnlyList<string> Fields => [Rows.ToString(CultureInfo.InvariantCulture), Columns.ToString(CultureInfo.InvariantCulture)];
}

/// <summary>The agent's greeting.</summary>
/// <param name="Hidden">Whether programs of the same user are kept from tracing it.</param>
/// <param name="PythonVersion">The version of the interpreter it runs on.</param>
internal sealed record AgentReady(bool Hidden, string PythonVersion);

/// <summary>The agent answered that it could not start something.</summary>
internal sealed class AgentRefusedException(string kind, string message) : Exception(message)
{
    /// <summary><c>cwd</c>, <c>fork</c> or <c>size</c>.</summary>
    internal string Kind { get; } = kind;
}
