using System.Diagnostics.CodeAnalysis;

namespace InterpreterKernel.Broker;

/// <summary>A claim in the desk's books, from its request until its slot is free. Guarded by the desk's lock.</summary>
[SuppressMessage("Design", "CA1001", Justification = "The token source has no timer and may be fired late, so it is never disposed.")]
internal sealed class OpenClaim
{
    private readonly CancellationTokenSource _interrupted = new();
    private readonly TaskCompletionSource _closed = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public OpenClaim(string id, ClaimRequest request, Account account, Ticket ticket, DateTimeOffset now)
    {
        Id = id;
        Request = request;
        Account = account;
        Ticket = ticket;
        Opened = now;
    }

    public string Id { get; }

    /// <summary>What was asked for, without the service and its key.</summary>
    public ClaimRequest Request { get; }

    public Account Account { get; }

    public DateTimeOffset Opened { get; }

    /// <summary>The place in the queue or the slot. Replaced when a handed-over sandbox brings its own.</summary>
    public Ticket Ticket { get; set; }

    /// <summary>The sandbox, from its order on; null while queued, and after it went to another claim.</summary>
    public HeldSandbox? Held { get; set; }

    /// <summary>Whether the sandbox is the one that the previous claim left.</summary>
    public bool HandedOver { get; set; }

    /// <summary>The spare it began with.</summary>
    public Spare? Spare { get; set; }

    /// <summary>When the connection ended, if it has.</summary>
    public DateTimeOffset? Disconnected { get; set; }

    /// <summary>When the connection ends before this moment, the sandbox waits until then for the next claim with the same key.</summary>
    public DateTimeOffset? HandoverUntil { get; set; }

    /// <summary>Ends the wait for the next claim.</summary>
    public ITimer? HandoverTimer { get; set; }

    /// <summary>What its holder saw die, if it said so.</summary>
    public HolderReport? Report { get; set; }

    /// <summary>Why the broker ends this claim, when it does: one of <see cref="ClaimReasons"/>.</summary>
    public string? InterruptReason { get; private set; }

    public CancellationToken Interrupted => _interrupted.Token;

    /// <summary>Ends when the claim is out of the books: nobody is connected, nothing is held, its slot is free or somebody else's.</summary>
    public Task Closed => _closed.Task;

    public void MarkClosed() => _closed.TrySetResult();

    /// <summary>Whether a later claim with the same key wants what this one has.</summary>
    public bool FitsFor(ClaimRequest next, AccountKey account) =>
        account == Account.Key && next.Template == Request.Template && next.Python == Request.Python && next.Resources == Request.Resources;

    /// <summary>Ends the claim from our side; the first reason counts. Not under a lock: whoever waits goes on at once.</summary>
    public void Interrupt(string reason)
    {
        InterruptReason ??= reason;
        _interrupted.Cancel();
    }
}
