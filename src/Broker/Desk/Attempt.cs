namespace InterpreterKernel.Broker;

/// <summary>One bounded try: its token fires after a time by the given clock, or with the outer token.</summary>
internal sealed class Attempt : IDisposable
{
    private readonly CancellationTokenSource _clock;
    private readonly CancellationTokenSource _both;

    public Attempt(TimeSpan bound, TimeProvider time, CancellationToken outer)
    {
        _clock = new CancellationTokenSource(bound, time);
        _both = CancellationTokenSource.CreateLinkedTokenSource(_clock.Token, outer);
    }

    public CancellationToken Token => _both.Token;

    public void Dispose()
    {
        _both.Dispose();
        _clock.Dispose();
    }
}
