using InterpreterKernel.Protocol.Jupyter;

namespace InterpreterKernel.Kernel.Timeouts;

/// <summary>One cell's clock and its place on the ladder.</summary>
internal sealed class CellClock : IDisposable
{
    private readonly TimeProvider _time;
    private readonly ITimer _timer;
    private long _setAt;
    private TimeSpan _delay = Timeout.InfiniteTimeSpan;

    public CellClock(TimeProvider time, string cell, Action<string> due)
    {
        _time = time;
        _timer = time.CreateTimer(_ => due(cell), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>The cell's own limit.</summary>
    public Limit? Limit { get; init; }

    /// <summary>The limit that ends first, its own or the notebook's; set when it starts.</summary>
    public Limit? InForce { get; set; }

    /// <summary>Something the user should see when it starts.</summary>
    public string? Notice { get; set; }

    /// <summary>Since when no other cell is before it.</summary>
    public long? AtHead { get; set; }

    /// <summary>Since when it runs.</summary>
    public long? Since { get; set; }

    /// <summary>What was done to it last.</summary>
    public Rung Rung { get; private set; }

    /// <summary>Whether the interrupt of this rung reached the kernel.</summary>
    public bool IsDelivered { get; set; }

    /// <summary>The last of the rungs that can have stopped it.</summary>
    public Rung Stopper { get; set; }

    /// <summary>What was said of its end: the same wherever it is said.</summary>
    public CellError? Verdict { get; set; }

    /// <summary>The next rung, and the time it has.</summary>
    public Rung Step(Rung rung, TimeSpan within)
    {
        Rung = rung;
        IsDelivered = false;
        Stopper = rung >= Rung.RestartKernel ? rung : Stopper;
        Verdict = null;
        WakeIn(within);
        return rung;
    }

    /// <summary>Sets the timer; what it was set to before does not count any more.</summary>
    public void WakeIn(TimeSpan delay)
    {
        (_setAt, _delay) = (_time.GetTimestamp(), delay);
        _timer.Change(delay, Timeout.InfiniteTimeSpan);
    }

    /// <summary>
    /// Whether the time is up. A timer that was set anew while its call waited for the lock is not. Nor is one that fired early, for timers
    /// follow a coarser clock, which lags on a busy machine: it is set once more, for the rest.
    /// </summary>
    public bool IsUp()
    {
        if (_delay == Timeout.InfiniteTimeSpan)
        {
            return false;
        }

        var rest = _delay - _time.GetElapsedTime(_setAt);
        if (rest <= TimeSpan.Zero)
        {
            return true;
        }

        _timer.Change(TimeSpan.FromMilliseconds(Math.Ceiling(rest.TotalMilliseconds)), Timeout.InfiniteTimeSpan);
        return false;
    }

    /// <inheritdoc/>
    public void Dispose() => _timer.Dispose();
}
