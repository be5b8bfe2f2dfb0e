namespace InterpreterKernel.Protocol.ZeroMq;

/// <summary>
/// Counts messages that libzmq still holds. A message counts until the last peer's connection has taken it, or given
/// it up; so this is how a sender knows what its slowest reader costs.
/// </summary>
/// <param name="released">
/// Called after each release, on a thread of libzmq: it must be quick and must not throw. May be null.
/// </param>
public sealed class HeldMessages(Action? released = null)
{
    private long _bytes;
    private long _count;

    /// <summary>Bytes held.</summary>
    public long Bytes => Volatile.Read(ref _bytes);

    /// <summary>Messages held.</summary>
    public long Count => Volatile.Read(ref _count);

    internal void Add(long bytes)
    {
        Interlocked.Add(ref _bytes, bytes);
        Interlocked.Increment(ref _count);
    }

    internal void Release(long bytes)
    {
        Interlocked.Add(ref _bytes, -bytes);
        Interlocked.Decrement(ref _count);
        released?.Invoke();
    }
}
