namespace InterpreterKernel.Broker.Tests;

/// <summary>A clock that stands still until told. Whoever moves it can first wait until something waits for that moment.</summary>
internal sealed class FakeTime : TimeProvider
{
    private readonly Lock _gate = new();
    private readonly List<FakeTimer> _timers = [];
    private readonly List<(DateTimeOffset Due, TaskCompletionSource Signal)> _watchers = [];
    private DateTimeOffset _now = new(2026, 11, 21, 12, 0, 0, TimeSpan.Zero);

    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    public override DateTimeOffset GetUtcNow()
    {
        lock (_gate)
        {
            return _now;
        }
    }

    public override long GetTimestamp() => GetUtcNow().UtcTicks;

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        var timer = new FakeTimer(this, callback, state);
        timer.Change(dueTime, period);
        return timer;
    }

    /// <summary>Waits until somebody waits for exactly this long from now, then lets it pass.</summary>
    public async Task PassAsync(TimeSpan time)
    {
        await AwaitedAsync(time);
        Advance(time);
    }

    /// <summary>Ends when somebody waits for exactly this long from now.</summary>
    public async Task AwaitedAsync(TimeSpan time)
    {
        Task watched;
        lock (_gate)
        {
            var due = _now + time;
            if (_timers.Exists(t => t.Due == due))
            {
                watched = Task.CompletedTask;
            }
            else
            {
                var signal = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
                _watchers.Add((due, signal));
                watched = signal.Task;
            }
        }

        await watched.WaitAsync(Bound.Default);
    }

    /// <summary>Moves the clock as a machine does that slept: timers that are due fire late, not one by one.</summary>
    public void Sleep(TimeSpan time)
    {
        lock (_gate)
        {
            _now += time;
        }

        Advance(TimeSpan.Zero);
    }

    public void Advance(TimeSpan time)
    {
        var target = GetUtcNow() + time;
        while (TakeDue(target) is { } timer)
        {
            timer.Fire();
        }

        lock (_gate)
        {
            _now = target;
        }
    }

    private FakeTimer? TakeDue(DateTimeOffset target)
    {
        lock (_gate)
        {
            var next = _timers.Where(t => t.Due <= target).MinBy(t => t.Due);
            if (next is not null)
            {
                _now = next.Due > _now ? next.Due : _now;
                next.Rearm();
            }

            return next;
        }
    }

    private sealed class FakeTimer(FakeTime owner, TimerCallback callback, object? state) : ITimer
    {
        private TimeSpan _period;

        public DateTimeOffset Due { get; private set; } = DateTimeOffset.MaxValue;

        public bool Change(TimeSpan dueTime, TimeSpan period)
        {
            var fireNow = false;
            lock (owner._gate)
            {
                owner._timers.Remove(this);
                _period = period;
                if (dueTime == TimeSpan.Zero && period == Timeout.InfiniteTimeSpan)
                {
                    fireNow = true;
                }
                else if (dueTime != Timeout.InfiniteTimeSpan)
                {
                    Due = owner._now + dueTime;
                    owner._timers.Add(this);
                    foreach (var watcher in owner._watchers.Where(w => w.Due == Due).ToList())
                    {
                        watcher.Signal.TrySetResult();
                        owner._watchers.Remove(watcher);
                    }
                }
            }

            if (fireNow)
            {
                ThreadPool.QueueUserWorkItem(_ => Fire());
            }

            return true;
        }

        public void Rearm()
        {
            if (_period > TimeSpan.Zero)
            {
                Due += _period;
            }
            else
            {
                owner._timers.Remove(this);
            }
        }

        public void Fire() => callback(state);

        public void Dispose()
        {
            lock (owner._gate)
            {
                owner._timers.Remove(this);
            }
        }

        public ValueTask DisposeAsync()
        {
            Dispose();
            return ValueTask.CompletedTask;
        }
    }
}

internal static class Bound
{
    /// <summary>How long any wait in a test may take; the machine may be busy.</summary>
    public static readonly TimeSpan Default = TimeSpan.FromSeconds(30);
}
