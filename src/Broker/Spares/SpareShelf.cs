using System.Security.Cryptography;
using Microsoft.Extensions.Logging;

namespace InterpreterKernel.Broker;

/// <summary>
/// The warm spares: for each kind that was used lately some sandboxes whose kernel waits for its first request.
/// </summary>
/// <remarks>
/// <code>
///   Used ─► quiet for a while, a slot is free ─► create ─► prepare ─► ready ─┬─► Take: it is the claim's, and never comes back
///     ▲                                                                      ├─► MakeRoom: somebody would have to wait
///     └───────────────── until nobody has used its kind for long ◄───────────┴─► killed or expired
/// </code>
/// Spares stand behind everybody: one is made only while nobody waits and no claim has just begun, one after the other, and
/// it takes a slot like any sandbox, so that the limits hold. The order of locks is book, shelf, slots.
/// </remarks>
internal sealed class SpareShelf : IDisposable
{
    private const int MostKinds = 4;
    private static readonly TimeSpan s_firstPause = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan s_longestPause = TimeSpan.FromMinutes(10);

    private readonly Lock _gate = new();
    private readonly SpareOptions? _options;
    private readonly DeskOptions _desk;
    private readonly TimeProvider _time;
    private readonly Ledger _ledger;
    private readonly ILogger _log;
    private readonly Dictionary<SpareKind, SpareDemand> _demands = [];
    private readonly List<Spare> _spares = [];
    private readonly ITimer _timer;
    private bool _making;
    private bool _closed;

    public SpareShelf(DeskOptions desk, Ledger ledger, ILogger log)
    {
        _ledger = ledger;
        _desk = desk;
        _options = desk.Spares;
        _time = desk.TimeProvider;
        _log = log;
        _timer = _time.CreateTimer(_ => OnTimer(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>The kind of spare that the claim would take; null for none.</summary>
    public SpareKind? KindOf(ClaimRequest request, AccountKey account) => _options is null ? null : SpareKind.Of(request, account, _options.Relay);

    /// <summary>
    /// A spare of this kind and its slot, which are the caller's from now on; null when there is none, or it is more than
    /// <paramref name="limit"/> allows. One that is still being made will do: it is ready sooner than anything that begins now.
    /// </summary>
    public (Spare Spare, Ticket Ticket)? Take(SpareKind kind, int? limit)
    {
        lock (_gate)
        {
            if (_closed || _spares.Where(s => s.Kind == kind && s.IsGood).MaxBy(s => s.IsReady) is not { } spare
                || spare.Account.Slots.Exchange(spare.Ticket, limit) is not { } ticket)
            {
                return null;
            }

            Forget_NeedsLock(spare);
            return (spare, ticket);
        }
    }

    /// <summary>A claim has its sandbox: from now on a spare of its kind is worth its place.</summary>
    public void Used(OpenClaim claim)
    {
        lock (_gate)
        {
            if (_closed || KindOf(claim.Request, claim.Account.Key) is not { } kind)
            {
                return;
            }

            if (!_demands.TryGetValue(kind, out var demand) || demand.Account != claim.Account)
            {
                _demands[kind] = demand = new SpareDemand(claim.Account);
            }

            demand.Count = claim.Request.Spare!.Count;
            demand.Limit = claim.Request.Limit;
            demand.LastUsed = _time.GetUtcNow();
            if (_demands.Count > MostKinds)
            {
                Drop_NeedsLock(_demands.MinBy(d => d.Value.LastUsed).Key);
            }

            Arm_NeedsLock();
        }
    }

    /// <summary>Something begins or ends: not now.</summary>
    public void Disturb()
    {
        lock (_gate)
        {
            Arm_NeedsLock();
        }
    }

    /// <summary>A claim has to wait: gives a spare of its account up. False when there is none; else its slot is free soon.</summary>
    public bool MakeRoom(Account account)
    {
        lock (_gate)
        {
            if (_spares.Find(s => s.Account == account && !s.Held.IsEnding) is not { } spare)
            {
                return false;
            }

            _log.SpareGivenUp(spare.Held.Stage.Sandbox, "a claim needs its place");
            EndInBackground(spare);
            return true;
        }
    }

    /// <summary>Kills the spare with this sandbox; null when there is none. The task ends when its slot is free.</summary>
    public Task? Kill(string sandboxId)
    {
        lock (_gate)
        {
            if (_spares.Find(s => s.Held.Stage.Sandbox == sandboxId) is not { } spare)
            {
                return null;
            }

            EndInBackground(spare);
            return spare.Held.Completion;
        }
    }

    /// <summary>The ones that are ready, for lists.</summary>
    public IReadOnlyList<SandboxStatus> List()
    {
        lock (_gate)
        {
            return [.. _spares.Where(s => s.IsReady).Select(s => new SandboxStatus(s.Held.Stage.Sandbox!, "", s.Kind.Template, s.Held.Stage.Started, "spare", s.Account.Name))];
        }
    }

    /// <summary>Kills all and makes no more.</summary>
    /// <returns>One task for each; it ends when that one is gone.</returns>
    public IReadOnlyList<Task> Close()
    {
        lock (_gate)
        {
            _closed = true;
            _demands.Clear();
            _spares.ForEach(EndInBackground);
            return [.. _spares.Select(s => s.Held.Completion)];
        }
    }

    public void Dispose() => _timer.Dispose();

    private void OnTimer()
    {
        lock (_gate)
        {
            var now = _time.GetUtcNow();
            foreach (var kind in _demands.Where(d => d.Value.LastUsed + _options!.Keep <= now).Select(d => d.Key).ToList())
            {
                Drop_NeedsLock(kind);
            }

            if (_making || _closed)
            {
                return;
            }

            // One after the other, the kind used last first.
            foreach (var (kind, demand) in _demands.OrderByDescending(d => d.Value.LastUsed))
            {
                if (_spares.Count(s => s.Kind == kind) < demand.Count
                    && demand.NotBefore <= now
                    && demand.Account.Slots.TryEnterSpare(demand.Limit) is { } ticket)
                {
                    _making = true;
                    _ = MakeAsync(kind, demand, ticket);
                    return;
                }
            }

            ArmForLater_NeedsLock(now);
        }
    }

    private async Task MakeAsync(SpareKind kind, SpareDemand demand, Ticket ticket)
    {
        // Not on the timer's time, and not under its lock.
        await Task.Yield();
        var spare = new Spare(kind, demand.Account, ticket, HeldSandbox.Start(demand.Account.Service, SpecOf(kind), _time, _ledger, _log));
        lock (_gate)
        {
            demand.Account.Spares++;
            _spares.Add(spare);
            if (_closed || !_demands.ContainsKey(kind))
            {
                EndInBackground(spare);
            }
        }

        _ = WatchAsync(spare);
        try
        {
            var creation = await spare.Held.Created;
            var sandbox = creation.Sandbox ?? throw creation.Fault!;
            using (var attempt = new Attempt(_options!.Patience, _time, CancellationToken.None))
            {
                var prepared = _options.PrepareAsync(await demand.Account.Service.AttachAsync(sandbox), kind.Kernel, attempt.Token);
                spare.SetPrepared(await prepared.WaitAsync(attempt.Token));
            }

            demand.Failures = 0;
            _log.SpareReady(sandbox.Id, kind.Template, kind.Kernel);
        }
        catch (Exception e)
        {
            Failed(spare, demand, e);
        }
        finally
        {
            lock (_gate)
            {
                _making = false;
                Arm_NeedsLock();
            }
        }
    }

    private void Failed(Spare spare, SpareDemand demand, Exception e)
    {
        lock (_gate)
        {
            // When it was given up it is no failure; when a claim has it, that starts what is missing and tells why it can't.
            if (spare.Held.IsEnding || !_spares.Contains(spare))
            {
                spare.SetPrepared(null);
                return;
            }

            var pause = s_firstPause * (1 << Math.Min(demand.Failures++, 8));
            demand.NotBefore = _time.GetUtcNow() + (pause < s_longestPause ? pause : s_longestPause);
            EndInBackground(spare);
        }

        _log.SpareFailed(spare.Kind.Template, e is OperationCanceledException ? "it was not ready in time" : e.Message);
        spare.SetPrepared(null);
    }

    /// <summary>Frees the slot when the sandbox is gone, unless a claim has both.</summary>
    private async Task WatchAsync(Spare spare)
    {
        await ((Task)spare.Held.Completion).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        lock (_gate)
        {
            if (_spares.Contains(spare))
            {
                Forget_NeedsLock(spare);
                spare.Account.Slots.Leave(spare.Ticket);
                Arm_NeedsLock();
            }
        }
    }

    private SandboxSpec SpecOf(SpareKind kind)
    {
        var metadata = new Dictionary<string, string>
        {
            [SandboxTags.Broker] = _desk.Instance,
            [SandboxTags.Host] = _desk.Host,
            [SandboxTags.Claim] = "spare-" + Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(8)),
        };
        if (kind.Python is { } python && kind.Account == AccountKey.Embedded)
        {
            metadata[SandboxTags.Python] = python;
        }

        if (kind.Resources is { } resources && kind.Account == AccountKey.Embedded)
        {
            metadata[SandboxTags.Resources] = resources.ToString();
        }

        return new SandboxSpec(kind.Template, TimeSpan.FromSeconds(kind.LifetimeSeconds), metadata, new Dictionary<string, string>());
    }

    private void Drop_NeedsLock(SpareKind kind)
    {
        _demands.Remove(kind);
        foreach (var spare in _spares.Where(s => s.Kind == kind))
        {
            _log.SpareGivenUp(spare.Held.Stage.Sandbox, "nobody has used its kind for long");
            EndInBackground(spare);
        }
    }

    private void Forget_NeedsLock(Spare spare)
    {
        if (_spares.Remove(spare))
        {
            spare.Account.Spares--;
        }
    }

    private void Arm_NeedsLock()
    {
        if (!_closed && _demands.Count > 0)
        {
            _timer.Change(_options!.Quiet, Timeout.InfiniteTimeSpan);
        }
    }

    /// <summary>For what only time brings: a pause after a failure ends, a kind is forgotten. All else arms the timer itself.</summary>
    private void ArmForLater_NeedsLock(DateTimeOffset now)
    {
        var next = _demands.Values
            .SelectMany(d => (IEnumerable<DateTimeOffset>)[d.LastUsed + _options!.Keep, d.NotBefore])
            .Where(moment => moment > now)
            .DefaultIfEmpty(DateTimeOffset.MaxValue)
            .Min();
        _timer.Change(next == DateTimeOffset.MaxValue ? Timeout.InfiniteTimeSpan : next - now, Timeout.InfiniteTimeSpan);
    }

    /// <summary>Who waits for the end goes on at once, and must not do so under our lock.</summary>
    private static void EndInBackground(Spare spare) => ThreadPool.QueueUserWorkItem(static s => s.Held.End(), spare, preferLocal: false);
}
