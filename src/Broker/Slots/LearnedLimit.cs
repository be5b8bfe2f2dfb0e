namespace InterpreterKernel.Broker;

/// <summary>
/// What the service's refusals (429) taught about how many sandboxes we can have: other users of the same account hold
/// some, or the plan allows fewer than configured. Since both change without notice, the lesson is put to the test: one
/// claim at a time may go beyond it, at once while that succeeds and with growing pauses while it does not; and it is
/// forgotten when nothing confirmed it for a while. Not thread-safe: <see cref="Slots"/> has the lock.
/// </summary>
internal sealed class LearnedLimit(TimeProvider time)
{
    private static readonly TimeSpan s_firstPause = TimeSpan.FromMilliseconds(500);
    private static readonly TimeSpan s_longestPause = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan s_forgottenAfter = TimeSpan.FromMinutes(5);

    private int? _value;
    private TimeSpan _pause = s_firstPause;
    private DateTimeOffset _taught;

    /// <summary>The lesson; null when there is none.</summary>
    public int? Value
    {
        get
        {
            if (_value is not null && time.GetUtcNow() - _taught > s_forgottenAfter)
            {
                _value = null;
                _pause = s_firstPause;
            }

            return _value;
        }
    }

    /// <summary>From when on one claim may try to go beyond it.</summary>
    public DateTimeOffset NextProbe { get; private set; }

    /// <summary>The service refused one more while we had <paramref name="used"/>.</summary>
    public void Refused(int used, bool probe)
    {
        // A burst of refusals is one lesson; only a probe that failed makes the next one wait longer.
        _pause = !probe ? _pause : _pause * 2 < s_longestPause ? _pause * 2 : s_longestPause;
        _value = Math.Min(Value ?? int.MaxValue, used);
        _taught = time.GetUtcNow();
        NextProbe = _taught + _pause;
    }

    /// <summary>The service granted a probe, so that we now have <paramref name="used"/>.</summary>
    public void Exceeded(int used)
    {
        if (Value is { } value && used > value)
        {
            _value = used;
            _pause = s_firstPause;
            NextProbe = time.GetUtcNow();
        }
    }
}
