using Microsoft.Extensions.Logging.Abstractions;

namespace InterpreterKernel.Broker.Tests;

/// <summary>A desk over one fake service and a clock that stands still.</summary>
internal sealed class TestDesk : IDisposable
{
    public TestDesk(int? limit = null, params string[] deadBrokers)
        : this(limit, null, deadBrokers)
    {
    }

    public TestDesk(int? limit, SpareOptions? spares, params string[] deadBrokers)
    {
        var options = new DeskOptions { Limit = limit, TimeProvider = Time, Instance = "this-broker", Host = "this-host", Spares = spares };
        Desk = new ClaimDesk(options, ServiceFor, new Sweep("this-host", deadBrokers.ToHashSet(), NullLogger.Instance), NullLogger.Instance);
    }

    public FakeTime Time { get; } = new();

    public FakeSandboxService Service { get; } = new();

    /// <summary>The service of every address but the embedded one.</summary>
    public FakeSandboxService Remote { get; } = new();

    public ClaimDesk Desk { get; }

    public static ClaimRequest Request(string key = "0123456789abcdef") => new() { Key = key };

    public Claimant Claim(ClaimRequest? request = null) => new(Desk, request ?? Request());

    public async Task<Claimant> ReadyClaimAsync(ClaimRequest? request = null)
    {
        var claimant = Claim(request);
        await claimant.HearsReadyAsync();
        return claimant;
    }

    public string StateOf(Claimant claimant) => Desk.Status().Claims.SingleOrDefault(c => c.Id == claimant.Claim.Id)?.State ?? "none";

    public void Dispose() => Desk.Dispose();

    private FakeSandboxService ServiceFor(ServiceAddress? address) => address is null ? Service : Remote;
}
