using System.Text;
using InterpreterKernel.SandboxHost.Agent;
using InterpreterKernel.SandboxHost.Native;
using InterpreterKernel.SandboxHost.Sandboxes;

namespace InterpreterKernel.SandboxHost.Files;

/// <summary>
/// A file task: a process inside the sandbox that does one thing as the sandbox's user, tied to the host by pipes that
/// the host made. The host itself never opens, follows or even names a path of the sandbox, so there is nothing to trick
/// it with (links, <c>..</c>, devices, FIFOs, races). What the sandbox can still do is stop or kill the task, or forge
/// its answer: so all that is read is bounded, and a task that does not go on for a minute is given up.
/// </summary>
internal sealed class SandboxTask : IDisposable
{
    /// <summary>How long a task may be silent, or not take what is written to it.</summary>
    internal static readonly TimeSpan DefaultPatience = TimeSpan.FromSeconds(60);

    private const int MaxErrorText = 4 * 1024;
    private const int TimedOut = 110;
    private const int BrokenAnswer = 5;

    private readonly AgentLink _agent;
    private readonly AgentChild _child;
    private readonly PolledDescriptor _answer;
    private readonly PolledDescriptor? _input;
    private readonly CancellationToken _caller;
    private readonly CancellationTokenSource _silence;
    private readonly CancellationTokenRegistration _onCaller;
    private readonly CancellationTokenRegistration _onSilence;
    private readonly TimeSpan _patience;
    private bool _ended;

    private SandboxTask(AgentLink agent, AgentChild child, PolledDescriptor answer, PolledDescriptor? input, TimeProvider time, TimeSpan patience, CancellationToken caller)
    {
        _agent = agent;
        _child = child;
        _answer = answer;
        _input = input;
        _caller = caller;
        _patience = patience;
        _silence = new CancellationTokenSource(Timeout.InfiniteTimeSpan, time);
        _onCaller = caller.Register(CutOff);
        _onSilence = _silence.Token.Register(CutOff);
    }

    /// <summary>Starts one.</summary>
    /// <param name="sandbox">Where.</param>
    /// <param name="nameAndArguments">What tasks.py shall do.</param>
    /// <param name="withInput">Whether it reads data from the host.</param>
    /// <param name="patience">How long it may be silent.</param>
    /// <param name="caller">Ends when its caller left; whatever is pending then fails.</param>
    /// <exception cref="AgentRefusedException">The sandbox has no room for another process.</exception>
    /// <exception cref="IOException">The sandbox is gone.</exception>
    internal static async Task<SandboxTask> StartAsync(
        LocalSandbox sandbox, IReadOnlyList<string> nameAndArguments, bool withInput, TimeSpan patience, CancellationToken caller)
    {
        using var input = withInput ? sandbox.Container.CreatePipe() : null;
        using var answer = sandbox.Container.CreatePipe();
        var child = await sandbox.Container.Agent.StartTaskAsync(nameAndArguments, input is null ? [answer.Write] : [input.Read, answer.Write]);
        return new SandboxTask(
            sandbox.Container.Agent,
            child,
            new PolledDescriptor(sandbox.Poller, answer.TakeRead(), forWriting: false),
            input is null ? null : new PolledDescriptor(sandbox.Poller, input.TakeWrite(), forWriting: true),
            sandbox.Time,
            patience,
            caller);
    }

    /// <summary>Runs one that only answers, and gives its whole answer.</summary>
    /// <exception cref="FileTaskException">It failed, or its answer is longer than <paramref name="limit"/>.</exception>
    internal static async Task<byte[]> RunAsync(LocalSandbox sandbox, IReadOnlyList<string> nameAndArguments, int limit, TimeSpan patience, CancellationToken caller)
    {
        using var task = await StartAsync(sandbox, nameAndArguments, withInput: false, patience, caller);
        await task.ThrowOnFailureAsync();
        return await task.ReadToEndAsync(limit);
    }

    public void Dispose()
    {
        _onCaller.Dispose();
        _onSilence.Dispose();
        _silence.Dispose();
        _answer.Dispose();

        // One that takes input tidies up behind itself when that ends early; others are simply stopped.
        _input?.Dispose();
        if (_input is null && !_ended && !_child.Exited.IsCompleted)
        {
            _ = StopAsync();
        }
    }

    /// <summary>Reads what there is; 0 at the end of the answer.</summary>
    internal async ValueTask<int> ReadAsync(Memory<byte> buffer)
    {
        _silence.CancelAfter(_patience);
        var count = await _answer.ReadAsync(buffer);
        if (count == 0)
        {
            ThrowIfCut();
            _ended = true;
        }

        _silence.CancelAfter(Timeout.InfiniteTimeSpan);
        return count;
    }

    internal async Task<byte[]> ReadExactlyAsync(int length)
    {
        var bytes = new byte[length];
        await ReadExactlyAsync(bytes);
        return bytes;
    }

    /// <summary>Waits without a limit for the first byte, then reads as many as asked for. False at the end of the answer.</summary>
    internal async Task<bool> ReadNextAsync(Memory<byte> bytes)
    {
        var count = await _answer.ReadAsync(bytes);
        if (count == 0)
        {
            ThrowIfCut();
            _ended = true;
            return false;
        }

        await ReadExactlyAsync(bytes[count..]);
        return true;
    }

    internal async Task<byte[]> ReadToEndAsync(int limit)
    {
        using var bytes = new MemoryStream();
        var piece = new byte[16 * 1024];
        while (await ReadAsync(piece) is > 0 and var count)
        {
            if (bytes.Length + count > limit)
            {
                throw new FileTaskException(BrokenAnswer, $"the answer from inside the sandbox is longer than {limit} bytes");
            }

            bytes.Write(piece, 0, count);
        }

        return bytes.ToArray();
    }

    /// <summary>Writes to the task.</summary>
    /// <exception cref="IOException">It takes no more; its answer says why.</exception>
    internal async ValueTask WriteAsync(ReadOnlyMemory<byte> data)
    {
        _silence.CancelAfter(_patience);
        try
        {
            await _input!.WriteAsync(data);
        }
        catch (IOException)
        {
            ThrowIfCut();
            throw;
        }

        _silence.CancelAfter(Timeout.InfiniteTimeSpan);
    }

    /// <summary>Nothing more is written.</summary>
    internal void CloseInput() => _input?.Dispose();

    /// <summary>Answers begin with 0, or with 1, four bytes of error number and a text.</summary>
    /// <exception cref="FileTaskException">It failed.</exception>
    internal async Task ThrowOnFailureAsync()
    {
        if ((await ReadExactlyAsync(1))[0] != 0)
        {
            var error = System.Buffers.Binary.BinaryPrimitives.ReadInt32BigEndian(await ReadExactlyAsync(4));
            throw new FileTaskException(error, Encoding.UTF8.GetString(await ReadToEndAsync(MaxErrorText)));
        }
    }

    private async Task ReadExactlyAsync(Memory<byte> bytes)
    {
        while (bytes.Length > 0)
        {
            var count = await ReadAsync(bytes);
            bytes = count > 0 ? bytes[count..] : throw new FileTaskException(BrokenAnswer, "the task inside the sandbox ended early");
        }
    }

    private void CutOff()
    {
        _answer.CutOff();
        _input?.Dispose();
    }

    private void ThrowIfCut()
    {
        _caller.ThrowIfCancellationRequested();
        if (_silence.IsCancellationRequested)
        {
            throw new FileTaskException(TimedOut, $"nothing came from inside the sandbox for {_patience.TotalSeconds:0.###} s; something in there holds it up");
        }
    }

    private async Task StopAsync()
    {
        try
        {
            await _agent.SignalAsync(_child, LibC.SigKill);
        }
        catch (IOException)
        {
            return; // the sandbox is gone, and the task with it
        }
    }
}

/// <summary>A file task failed inside the sandbox.</summary>
internal sealed class FileTaskException(int error, string message) : Exception(message)
{
    /// <summary>The error number (errno) it failed with.</summary>
    internal int Error { get; } = error;
}
