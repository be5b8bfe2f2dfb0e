using System.Security.Cryptography;

namespace InterpreterKernel.Broker;

/// <summary>
/// The desk's books: which claims there are, which accounts they use, and who inherits what. All of it changes under one
/// lock, and nothing here waits or calls out.
/// </summary>
internal sealed class ClaimBook : IDisposable
{
    // Enough for anybody; only a faulty client would use more at once, and it gets served all the same.
    private const int KeptAccounts = 32;

    private readonly Lock _gate = new();
    private readonly TimeProvider _time;
    private readonly DeskOptions _options;
    private readonly Ledger _ledger;
    private readonly Func<ServiceAddress?, ISandboxService> _services;
    private readonly SpareShelf _spares;
    private readonly Dictionary<string, OpenClaim> _claims = [];
    private readonly Dictionary<AccountKey, Account> _accounts = [];
    private readonly TaskCompletionSource _idle = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly ITimer _idleTimer;
    private bool _closed;

    public ClaimBook(DeskOptions options, Func<ServiceAddress?, ISandboxService> services, SpareShelf spares, Ledger ledger)
    {
        _spares = spares;
        _ledger = ledger;
        _options = options;
        _time = options.TimeProvider;
        _services = services;
        _idleTimer = _time.CreateTimer(_ => CloseIfIdle(), null, options.IdleExit, Timeout.InfiniteTimeSpan);
    }

    /// <summary>Ends when there was no claim for so long that the book closed itself.</summary>
    public Task Idle => _idle.Task;

    /// <summary>
    /// Enters a claim: into the queue, or straight into what the previous claim with its key left, or into a spare.
    /// </summary>
    /// <returns>Null when the book is closed. <c>Giver</c> is the claim whose sandbox it got; <c>Unfit</c> one that
    /// waited for this key in vain, because the notebook wants something else now.</returns>
    public (OpenClaim Claim, OpenClaim? Giver, OpenClaim? Unfit)? TryOpen(ClaimRequest request)
    {
        lock (_gate)
        {
            if (_closed)
            {
                return null;
            }

            _idleTimer.Change(Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
            var now = _time.GetUtcNow();
            var account = AccountFor_NeedsLock(request.Service);
            account.Claims++;

            var left = _claims.Values.Where(c => c.Request.Key == request.Key && c.HandoverUntil > now && c.Held is { IsEnding: false }).ToList();
            var giver = left.Find(c => c.FitsFor(request, account.Key));
            var unfit = giver is null ? left.Find(c => c.Disconnected is not null) : null;

            var id = "c-" + Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(8));
            var spare = giver is null && _spares.KindOf(request, account.Key) is { } kind ? _spares.Take(kind, request.Limit) : null;
            var ticket = giver?.Ticket ?? spare?.Ticket ?? account.Slots.Enter(request.Limit);
            var claim = new OpenClaim(id, request with { Service = null }, account, ticket, now);
            _claims.Add(id, claim);
            claim.Held = spare?.Spare.Held;
            claim.Spare = spare?.Spare;
            if (giver is not null)
            {
                claim.Held = giver.Held;
                claim.HandedOver = true;
                giver.Held = null;
                giver.HandoverTimer?.Dispose();
                if (giver.Disconnected is not null)
                {
                    Remove_NeedsLock(giver);
                }
            }

            return (claim, giver, unfit);
        }
    }

    public OpenClaim? Find(string id)
    {
        lock (_gate)
        {
            return _claims.GetValueOrDefault(id);
        }
    }

    public OpenClaim? FindSandbox(string sandboxId)
    {
        lock (_gate)
        {
            return _claims.Values.FirstOrDefault(c => c.Held?.Stage.Sandbox == sandboxId);
        }
    }

    /// <summary>Lets the claim's sandbox wait for the next claim with the same key. False when there is none to wait.</summary>
    public bool AllowHandover(OpenClaim claim)
    {
        lock (_gate)
        {
            if (claim.Held is not { IsEnding: false } || claim.InterruptReason is not null || claim.Disconnected is not null)
            {
                return false;
            }

            claim.HandoverUntil = _time.GetUtcNow() + _options.Handover;
            return true;
        }
    }

    /// <summary>The order for a claim's slot has been placed.</summary>
    public void Ordered(OpenClaim claim, HeldSandbox held)
    {
        lock (_gate)
        {
            claim.Held = held;
        }
    }

    /// <summary>
    /// The service had no room: the slot goes back, the claim queues again at its old place. False when slot and order
    /// went to another claim in the meantime.
    /// </summary>
    public bool Requeue(OpenClaim claim, HeldSandbox held, TimeSpan? pause)
    {
        lock (_gate)
        {
            if (claim.Held != held)
            {
                return false;
            }

            claim.Held = null;
            if (pause is { } wait)
            {
                claim.Account.Slots.Pause(claim.Ticket, wait);
            }
            else
            {
                claim.Account.Slots.Refuse(claim.Ticket);
            }

            return true;
        }
    }

    /// <summary>
    /// The claim's connection ended: answers what has to be killed now, if anything. What waits for the next claim is
    /// given to <paramref name="expired"/> when none came.
    /// </summary>
    public HeldSandbox? Disconnect(OpenClaim claim, Action<HeldSandbox> expired)
    {
        lock (_gate)
        {
            var now = _time.GetUtcNow();
            claim.Disconnected = now;
            if (claim.Held is not { Completion.IsCompleted: false } held)
            {
                Remove_NeedsLock(claim);
                return null;
            }

            if (claim.HandoverUntil is not { } until || until <= now || claim.InterruptReason is not null || held.IsEnding || _closed)
            {
                return held;
            }

            claim.HandoverTimer = _time.CreateTimer(
                _ =>
                {
                    if (EndOfHandover(claim) is { } unwanted)
                    {
                        expired(unwanted);
                    }
                },
                null,
                until - now,
                Timeout.InfiniteTimeSpan);
            return null;
        }
    }

    /// <summary>A sandbox does not count any more (or never did). Frees its slot and closes its claim if nobody is left in it.</summary>
    public void Ended(HeldSandbox held, bool freesSlot)
    {
        lock (_gate)
        {
            if (_claims.Values.FirstOrDefault(c => c.Held == held) is not { } claim)
            {
                return;
            }

            if (freesSlot)
            {
                claim.Account.Slots.Leave(claim.Ticket);
            }

            if (claim.Disconnected is not null)
            {
                Remove_NeedsLock(claim);
            }
        }
    }

    /// <summary>Takes no more claims; answers the ones there are.</summary>
    public IReadOnlyList<OpenClaim> Close()
    {
        lock (_gate)
        {
            _closed = true;
            return [.. _claims.Values];
        }
    }

    /// <summary>Closes if there is no claim; answers how many there are.</summary>
    public int CloseIfIdle()
    {
        lock (_gate)
        {
            if (_claims.Count == 0)
            {
                _closed = true;
                _idle.TrySetResult();
            }

            return _claims.Count;
        }
    }

    public BrokerStatus Status()
    {
        lock (_gate)
        {
            return StatusReport.Make(_claims.Values, _accounts.Values, _options, _ledger) with { Spares = _spares.List().Count };
        }
    }

    public void Dispose()
    {
        lock (_gate)
        {
            _idleTimer.Dispose();
            foreach (var claim in _claims.Values)
            {
                claim.HandoverTimer?.Dispose();
            }

            foreach (var account in _accounts.Values)
            {
                account.Dispose();
            }
        }
    }

    private HeldSandbox? EndOfHandover(OpenClaim claim)
    {
        lock (_gate)
        {
            claim.HandoverUntil = null;
            return claim.Held;
        }
    }

    private Account AccountFor_NeedsLock(ServiceAddress? service)
    {
        var key = AccountKey.Of(service);
        if (_accounts.TryGetValue(key, out var known))
        {
            return known;
        }

        if (_accounts.Count >= KeptAccounts && _accounts.Values.FirstOrDefault(a => a is { Claims: 0, Spares: 0 }) is { } unused)
        {
            _accounts.Remove(unused.Key);
            unused.Dispose();
        }

        var name = service?.ToString() ?? "embedded";
        var namesakes = _accounts.Values.Count(a => a.Key.Service == key.Service);
        var account = new Account(
            key,
            namesakes == 0 ? name : $"{name} ({namesakes + 1})",
            _services(service),
            new Slots(_time, _options.Limit, service is null ? null : _options.Pace));
        _accounts.Add(key, account);
        return account;
    }

    private void Remove_NeedsLock(OpenClaim claim)
    {
        if (!_claims.Remove(claim.Id))
        {
            return;
        }

        // When the sandbox went to another claim, the slot went with it.
        if (!_claims.Values.Any(c => c.Ticket == claim.Ticket))
        {
            claim.Account.Slots.Leave(claim.Ticket);
        }

        claim.HandoverTimer?.Dispose();
        claim.MarkClosed();
        claim.Account.Claims--;
        if (_claims.Count == 0 && !_closed)
        {
            _idleTimer.Change(_options.IdleExit, Timeout.InfiniteTimeSpan);
        }
    }
}
