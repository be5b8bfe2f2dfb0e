namespace InterpreterKernel.Broker;

/// <summary>
/// How fast sandboxes are ordered from one account: <paramref name="Burst"/> at once after a rest, then one each
/// <paramref name="Interval"/>. A service that limits the rate of creations (E2B: some per second, by plan) then queues nobody
/// behind its refusals; one that wants it slower still says so, and is obeyed (<see cref="Slots.Pause"/>).
/// </summary>
/// <param name="Burst">How many at once.</param>
/// <param name="Interval">The time for one more.</param>
internal sealed record Pace(int Burst, TimeSpan Interval)
{
    /// <summary>For services far away: 10 at once, then 5 a second.</summary>
    public static readonly Pace Remote = new(10, TimeSpan.FromMilliseconds(200));
}
