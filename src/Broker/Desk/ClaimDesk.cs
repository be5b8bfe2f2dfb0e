using Microsoft.Extensions.Logging;

namespace InterpreterKernel.Broker;

/// <summary>Says something to the holder of a claim. Fails or is cancelled when the holder is gone.</summary>
internal delegate ValueTask ClaimVoice(ClaimEvent news, CancellationToken cancellation);

/// <summary>
/// Grants sandboxes to claims. This is the broker's main path; HTTP is elsewhere, and so is the clock.
/// </summary>
/// <remarks>
/// <code>
///  Open ─► (1) handed over, or a spare? ─────────────────┐
///             │ no                                        ▼
///             └► (2) queue ─► (3) order ─► (4) ready ─► (5) hold ─► lost
///                   ▲            │ 429                    │
///                   └────────────┘                        ▼ connection ends, or the broker ends it
///                                              (6) kill now, or wait for the next claim with this key
/// </code>
/// </remarks>
internal sealed class ClaimDesk : IDisposable
{
    // A holder that does not read its stream shall not keep us from going.
    private static readonly TimeSpan s_lastWord = TimeSpan.FromSeconds(2);

    private readonly DeskOptions _options;
    private readonly ClaimBook _book;
    private readonly Ledger _ledger = new();
    private readonly SpareShelf _spares;
    private readonly Sweep _sweep;
    private readonly ILogger _log;

    public ClaimDesk(DeskOptions options, Func<ServiceAddress?, ISandboxService> services, Sweep sweep, ILogger log)
    {
        _options = options;
        _spares = new SpareShelf(options, _ledger, log);
        _book = new ClaimBook(options, services, _spares, _ledger);
        _sweep = sweep;
        _log = log;
    }

    /// <summary>Ends when the desk closed because it was idle for long enough.</summary>
    public Task Idle => _book.Idle;

    /// <summary>Enters a claim into the books; <see cref="ServeAsync"/> has to follow.</summary>
    /// <exception cref="BrokerException">The broker is going away.</exception>
    public OpenClaim Open(ClaimRequest request)
    {
        if (_book.TryOpen(request) is not var (claim, giver, unfit))
        {
            throw new BrokerException(BrokerFault.Stopping, "The broker is stopping. Nothing was started; a new broker can be started at once.");
        }

        _log.ClaimOpened(claim.Id, request.Owner?.Pid);
        _ledger.Opened();
        giver?.Interrupt(ClaimReasons.HandedOver);
        unfit?.Held?.End();
        _spares.Disturb();
        if (claim.Spare is { } spare)
        {
            _log.SpareTaken(claim.Id, spare.Held.Stage.Sandbox);
            _ = WatchAsync(spare.Held);
        }

        _sweep.Start(claim.Account);
        return claim;
    }

    /// <summary>Serves a claim until its connection ends (<paramref name="gone"/>), the sandbox is lost or there will be none.</summary>
    public async Task ServeAsync(OpenClaim claim, ClaimVoice tell, CancellationToken gone)
    {
        using var either = CancellationTokenSource.CreateLinkedTokenSource(gone, claim.Interrupted);
        ClaimEvent? last = null;
        try
        {
            last = await HoldAsync(claim, tell, either.Token);
        }
        catch (OperationCanceledException) when (either.IsCancellationRequested)
        {
            // The holder left, or we end the claim: the order of these questions does not matter to the sandbox.
            last = gone.IsCancellationRequested ? null : ClaimMessages.Ended(claim);
        }
        finally
        {
            // :: (6), before the last word: a holder that does not read must not keep its slot.
            var sandbox = claim.Held?.Stage.Sandbox;
            _book.Disconnect(claim, held => held.End())?.End();
            Record(claim, sandbox, last);
            _spares.Disturb();
        }

        if (last is not null)
        {
            using var attempt = new Attempt(s_lastWord, _options.TimeProvider, gone);
            await tell(last, attempt.Token);
        }
    }

    /// <summary>Keeps the claim's sandbox for the next claim with the same key.</summary>
    /// <returns>Null: no such claim. False: it has no sandbox to keep.</returns>
    public bool? AllowHandover(string claimId) => _book.Find(claimId) is { } claim ? _book.AllowHandover(claim) : null;

    /// <summary>Takes down what the holder of a claim saw die. False when there is no such claim.</summary>
    public bool Report(string claimId, HolderReport report)
    {
        if (_book.Find(claimId) is not { } claim)
        {
            return false;
        }

        claim.Report ??= report;
        _log.HolderReported(claim.Id, report.Reason);
        return true;
    }

    /// <summary>Ends a claim and waits until its slot is free. False when there is no such claim.</summary>
    public async Task<bool> ReleaseAsync(string claimId, CancellationToken cancellation) =>
        await EndAsync(_book.Find(claimId), ClaimReasons.Released, cancellation);

    /// <summary>Kills a sandbox of ours and waits until its slot is free. False when there is no such sandbox.</summary>
    public async Task<bool> KillSandboxAsync(string sandboxId, CancellationToken cancellation) =>
        await EndAsync(_book.FindSandbox(sandboxId), ClaimReasons.Killed, cancellation)
        || await EndSpareAsync(_spares.Kill(sandboxId), cancellation);

    public BrokerStatus Status() => _book.Status();

    /// <summary>Counts and durations since the start, as Prometheus reads them.</summary>
    public string Metrics() => _ledger.Metrics(_book.Status());

    /// <summary>The spares that are ready.</summary>
    public IReadOnlyList<SandboxStatus> Spares() => _spares.List();

    /// <summary>Closes the desk if it has no claims; answers how many it has.</summary>
    public int CloseIfIdle() => _book.CloseIfIdle();

    /// <summary>Takes no more claims.</summary>
    public void Close() => _book.Close();

    /// <summary>Ends all claims at once and waits for the kills, but not longer than <paramref name="bound"/>.</summary>
    /// <returns>How many sandboxes may still be there.</returns>
    public async Task<int> StopAsync(TimeSpan bound)
    {
        // The queue first, lest it is granted the slots that the others free.
        var claims = _book.Close().OrderBy(c => c.Held is not null).ToList();
        foreach (var claim in claims)
        {
            claim.Held?.End();
            claim.Interrupt(ClaimReasons.Stopping);
        }

        var ends = claims.Select(c => c.Closed).Concat(_spares.Close()).ToList();
        using var attempt = new Attempt(bound, _options.TimeProvider, CancellationToken.None);
        await Task.WhenAll(ends).WaitAsync(attempt.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        return ends.Count(end => !end.IsCompleted);
    }

    public void Dispose()
    {
        _book.Dispose();
        _spares.Dispose();
    }

    private async Task<ClaimEvent> HoldAsync(OpenClaim claim, ClaimVoice tell, CancellationToken end)
    {
        // :: (1) A handed-over claim comes with its sandbox, perhaps one that is still being created; a spare is one that is ready.
        var giveUp = claim.Request.Wait?.Seconds is { } seconds ? claim.Opened + TimeSpan.FromSeconds(seconds) : (DateTimeOffset?)null;
        while (true)
        {
            var held = claim.Held;
            if (held is null)
            {
                // :: (2)
                if (await WaitForSlotAsync(claim, tell, giveUp, end) is { } refused)
                {
                    return refused;
                }

                // :: (3)
                end.ThrowIfCancellationRequested();
                held = Order(claim);
                await tell(new ClaimEvent { Event = ClaimEvents.Creating }, end);
            }

            var creation = await held.Created.WaitAsync(end);
            if (creation.Sandbox is { } sandbox)
            {
                // :: (4)
                claim.Account.Slots.Confirm(claim.Ticket);
                var attachment = claim.Spare is { } spare && spare.Held == held ? await spare.Prepared.WaitAsync(end) : null;
                var granted = new GrantedSandbox(sandbox.Id, sandbox.EnvdAccessToken, sandbox.Domain, sandbox.UnixSocket, claim.HandedOver) { Attachment = attachment };
                _spares.Used(claim);
                await tell(new ClaimEvent { Event = ClaimEvents.Ready, Claim = claim.Id, Sandbox = granted }, end);

                // :: (5)
                return ClaimMessages.Lost(await held.Lost.WaitAsync(end));
            }

            var fault = creation.Fault!;
            if (fault.Fault is not (ServiceFault.ConcurrencyLimit or ServiceFault.RateLimited))
            {
                var failed = ClaimMessages.Failed(fault);
                _log.ClaimFailed(claim.Id, failed.Reason!, fault.Message);
                return failed;
            }

            if (!_book.Requeue(claim, held, fault.Fault == ServiceFault.RateLimited ? fault.RetryAfter ?? TimeSpan.FromSeconds(1) : null))
            {
                // The next claim with this key has it all by now; what is left for us is to be told so.
                await Task.Delay(Timeout.InfiniteTimeSpan, end);
            }

            _log.LimitLearned(fault.Message, claim.Account.Slots.Count().Learned);
        }
    }

    /// <summary>Null once the slot is ours; else the last word to a claim that does not wait, or not any longer.</summary>
    private async Task<ClaimEvent?> WaitForSlotAsync(OpenClaim claim, ClaimVoice tell, DateTimeOffset? giveUp, CancellationToken end)
    {
        var patience = giveUp - _options.TimeProvider.GetUtcNow();
        using var attempt = patience is { } p ? new Attempt(p > TimeSpan.Zero ? p : TimeSpan.Zero, _options.TimeProvider, end) : null;
        var limit = 0;
        try
        {
            await foreach (var news in claim.Ticket.News.ReadAllAsync(attempt?.Token ?? end))
            {
                if (news.Granted)
                {
                    var waited = _options.TimeProvider.GetUtcNow() - claim.Opened;
                    _ledger.Granted(waited);
                    _log.SlotGranted(claim.Id, waited.TotalMilliseconds);
                    return null;
                }

                limit = news.Limit;
                if (claim.Account.Slots.IsHeldUpBySpares(claim.Ticket) && _spares.MakeRoom(claim.Account))
                {
                    // Its slot is free as soon as it is killed: that is not a wait worth telling, nor a reason to refuse.
                    continue;
                }

                if (claim.Request.Wait?.Policy == ClaimWait.RejectPolicy)
                {
                    return ClaimMessages.NoSlot(limit, null);
                }

                await tell(new ClaimEvent { Event = ClaimEvents.Queued, Position = news.Position, Limit = limit }, end);
            }
        }
        catch (OperationCanceledException) when (!end.IsCancellationRequested)
        {
            return ClaimMessages.NoSlot(limit, claim.Request.Wait?.Seconds);
        }

        throw new InvalidOperationException("A ticket's news never end before its grant.");
    }

    private HeldSandbox Order(OpenClaim claim)
    {
        var request = claim.Request;
        var metadata = request.Metadata?.ToDictionary() ?? [];
        metadata[SandboxTags.Broker] = _options.Instance;
        metadata[SandboxTags.Host] = _options.Host;
        metadata[SandboxTags.Claim] = claim.Id;
        if (request.Python is { } python && claim.Account.Key == AccountKey.Embedded)
        {
            metadata[SandboxTags.Python] = python;
        }

        if (request.Resources is { } resources && claim.Account.Key == AccountKey.Embedded)
        {
            metadata[SandboxTags.Resources] = resources.ToString();
        }

        var spec = new SandboxSpec(
            request.Template,
            TimeSpan.FromSeconds(request.LifetimeSeconds),
            metadata,
            request.EnvVars ?? new Dictionary<string, string>());
        var held = HeldSandbox.Start(claim.Account.Service, spec, _options.TimeProvider, _ledger, _log);
        _book.Ordered(claim, held);
        _ = WatchAsync(held);
        return held;
    }

    private async Task WatchAsync(HeldSandbox held)
    {
        try
        {
            _book.Ended(held, await held.Completion);
        }
        catch (Exception e)
        {
            // Its life is written not to fail. If it did, the slot is better freed than lost for ever.
            _log.Unexpected(e);
            _book.Ended(held, true);
        }
    }

    /// <summary>The end of a connection, with the first reason that anybody gave for it.</summary>
    private void Record(OpenClaim claim, string? sandbox, ClaimEvent? last)
    {
        var reason = claim.Report?.Reason ?? last?.Reason ?? "closed";
        _log.ClaimClosed(claim.Id, reason);
        _ledger.Ended(new EndedClaim
        {
            At = _options.TimeProvider.GetUtcNow(),
            Id = claim.Id,
            Sandbox = sandbox,
            Label = claim.Request.Owner?.Label,
            Service = claim.Account.Name,
            Reason = reason,
            Message = claim.Report?.Message ?? last?.Message,
        });
    }

    private static async Task<bool> EndSpareAsync(Task? end, CancellationToken cancellation)
    {
        await (end ?? Task.CompletedTask).WaitAsync(cancellation);
        return end is not null;
    }

    private static async Task<bool> EndAsync(OpenClaim? claim, string reason, CancellationToken cancellation)
    {
        if (claim is null)
        {
            return false;
        }

        claim.Held?.End();
        claim.Interrupt(reason);
        await claim.Closed.WaitAsync(cancellation);
        return true;
    }
}
