using System.Threading.Channels;

namespace InterpreterKernel.Broker.Tests;

/// <summary>A claim at the desk, without HTTP: what it is told, and a connection to end.</summary>
internal sealed class Claimant
{
    private readonly Channel<ClaimEvent> _told = Channel.CreateUnbounded<ClaimEvent>();
    private readonly CancellationTokenSource _gone = new();

    public Claimant(ClaimDesk desk, ClaimRequest request)
    {
        Claim = desk.Open(request);
        Served = ServeAsync(desk);
    }

    public OpenClaim Claim { get; }

    /// <summary>Ends when the desk is done with the connection.</summary>
    public Task Served { get; }

    public void Leave() => _gone.Cancel();

    public async Task LeaveAndWaitAsync()
    {
        Leave();
        await Served.WaitAsync(Bound.Default);
        await Claim.Closed.WaitAsync(Bound.Default);
    }

    /// <summary>The next event, which has to be this one.</summary>
    public async Task<ClaimEvent> HearsAsync(string kind)
    {
        using var bound = new CancellationTokenSource(Bound.Default);
        var news = await _told.Reader.ReadAsync(bound.Token);
        news.Event.ShouldBe(kind, news.Message);
        return news;
    }

    public async Task<ClaimEvent> HearsReadyAsync()
    {
        await HearsAsync(ClaimEvents.Creating);
        return await HearsAsync(ClaimEvents.Ready);
    }

    public bool HeardNothing() => !_told.Reader.TryPeek(out _);

    /// <summary>The next event of this kind, passing over others.</summary>
    public async Task<ClaimEvent> AwaitsAsync(string kind)
    {
        using var bound = new CancellationTokenSource(Bound.Default);
        await foreach (var news in _told.Reader.ReadAllAsync(bound.Token))
        {
            if (news.Event == kind)
            {
                return news;
            }
        }

        throw new InvalidOperationException($"The stream ended without {kind}.");
    }

    private async Task ServeAsync(ClaimDesk desk)
    {
        await Task.Yield();
        try
        {
            await desk.ServeAsync(Claim, (news, _) => _told.Writer.WriteAsync(news, CancellationToken.None), _gone.Token);
        }
        finally
        {
            _told.Writer.Complete();
        }
    }
}
