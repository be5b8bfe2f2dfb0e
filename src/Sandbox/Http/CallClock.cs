namespace InterpreterKernel.Sandbox.Http;

/// <summary>
/// The request timeout of one call, joined with the caller's own token. It keeps the two apart, so that the exception can
/// say whose clock ran out.
/// </summary>
internal sealed class CallClock : IDisposable
{
    private readonly CancellationTokenSource _deadline;
    private readonly CancellationTokenSource _both;
    private readonly TimeProvider _time;
    private readonly long _started;

    public CallClock(TimeSpan timeout, TimeProvider time, CancellationToken caller)
    {
        Timeout = timeout > TimeSpan.Zero ? timeout : System.Threading.Timeout.InfiniteTimeSpan;
        Caller = caller;
        _time = time;
        _started = time.GetTimestamp();
        _deadline = new CancellationTokenSource(Timeout, time);
        _both = CancellationTokenSource.CreateLinkedTokenSource(_deadline.Token, caller);
    }

    public CallClock(SandboxConnection connection, CancellationToken caller)
        : this(connection.RequestTimeout, connection.TimeProvider, caller)
    {
    }

    public TimeSpan Timeout { get; }

    public CancellationToken Caller { get; }

    public CancellationToken Token => _both.Token;

    public bool IsOver => _deadline.IsCancellationRequested;

    /// <summary>Whether a pause of this length still fits. Without a deadline, a minute of retrying is enough.</summary>
    public bool HasRoomFor(TimeSpan pause)
    {
        var limit = Timeout == System.Threading.Timeout.InfiniteTimeSpan ? TimeSpan.FromMinutes(1) : Timeout;
        return _time.GetElapsedTime(_started) + pause < limit;
    }

    public Task PauseAsync(TimeSpan pause) => Task.Delay(pause, _time, Token);

    /// <summary>Starts the timeout anew: for transfers, where each piece of progress earns the next wait.</summary>
    public void Restart() => _deadline.CancelAfter(Timeout);

    public void Dispose()
    {
        _both.Dispose();
        _deadline.Dispose();
    }
}
