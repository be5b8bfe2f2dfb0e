namespace InterpreterKernel.Broker;

/// <summary>Durations by size, as Prometheus counts them: each bucket holds what is no longer than its bound. Not thread-safe.</summary>
internal sealed class Histogram(params double[] bounds)
{
    private readonly long[] _counts = new long[bounds.Length];

    /// <summary>The bounds, in seconds, ascending; the last bucket, without a bound, is <see cref="Count"/>.</summary>
    public IReadOnlyList<double> Bounds => bounds;

    /// <summary>All durations.</summary>
    public long Count { get; private set; }

    /// <summary>Their sum, in seconds.</summary>
    public double Sum { get; private set; }

    /// <summary>How many were no longer than each bound.</summary>
    public IReadOnlyList<long> Cumulative => _counts;

    /// <summary>Counts one.</summary>
    public void Add(TimeSpan duration)
    {
        var seconds = Math.Max(0, duration.TotalSeconds);
        Count++;
        Sum += seconds;
        for (var i = 0; i < bounds.Length; i++)
        {
            if (seconds <= bounds[i])
            {
                _counts[i]++;
            }
        }
    }
}
