namespace InterpreterKernel.SandboxHost.Agent;

/// <summary>A process that the agent started.</summary>
internal sealed class AgentChild
{
    private readonly TaskCompletionSource _started = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource<int> _exited = new(TaskCreationOptions.RunContinuationsAsynchronously);

    internal AgentChild(uint request)
    {
        Request = request;

        // A child nobody waits for any more may fail (the sandbox is killed); that is no unobserved error.
        _ = _exited.Task.ContinueWith(static t => _ = t.Exception, CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted, TaskScheduler.Default);
        _ = _started.Task.ContinueWith(static t => _ = t.Exception, CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted, TaskScheduler.Default);
    }

    internal uint Request { get; }

    /// <summary>Its process id as seen inside the sandbox; 0 before it started.</summary>
    internal uint Pid { get; private set; }

    internal Task Started => _started.Task;

    /// <summary>The raw wait status, once it has ended. Fails when the sandbox goes first.</summary>
    internal Task<int> Exited => _exited.Task;

    internal void SetStarted(uint pid)
    {
        Pid = pid;
        _started.TrySetResult();
    }

    internal void SetExited(int status) => _exited.TrySetResult(status);

    internal void Fail(Exception reason)
    {
        _started.TrySetException(reason);
        _exited.TrySetException(reason);
    }
}
