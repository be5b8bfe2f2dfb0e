namespace InterpreterKernel.Broker;

/// <summary>
/// What has happened since this broker started: counts and durations for <c>GET /metrics</c>, and the last ends with their reasons
/// for <c>status</c>. It decides nothing.
/// </summary>
internal sealed class Ledger
{
    /// <summary>How many ended claims are kept.</summary>
    public const int KeptEnds = 16;

    // What could be a stranger's word (a holder's report) is bounded in number as well as in length.
    private const int KeptReasons = 64;

    private readonly Lock _gate = new();
    private readonly Queue<EndedClaim> _ends = new();
    private readonly Dictionary<string, long> _endsByReason = [];
    private readonly Dictionary<string, long> _failedOrders = [];
    private readonly Histogram _waited = new(0.01, 0.1, 1, 10, 60, 600);
    private readonly Histogram _created = new(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30);
    private readonly Histogram _freed = new(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 15, 60);
    private long _opened;
    private long _unconfirmed;

    /// <summary>Kills that the service never confirmed, although the lease must have ended since.</summary>
    public long UnconfirmedKills
    {
        get
        {
            lock (_gate)
            {
                return _unconfirmed;
            }
        }
    }

    /// <summary>The last ends, newest first.</summary>
    public IReadOnlyList<EndedClaim> Ends
    {
        get
        {
            lock (_gate)
            {
                return [.. _ends.Reverse()];
            }
        }
    }

    public void Opened()
    {
        lock (_gate)
        {
            _opened++;
        }
    }

    /// <summary>A claim has its slot.</summary>
    public void Granted(TimeSpan waited)
    {
        lock (_gate)
        {
            _waited.Add(waited);
        }
    }

    public void Created(TimeSpan took)
    {
        lock (_gate)
        {
            _created.Add(took);
        }
    }

    public void OrderFailed(ServiceFault why)
    {
        lock (_gate)
        {
            Count(_failedOrders, why.ToString());
        }
    }

    /// <summary>A sandbox is gone and its slot free, so long after that was asked for.</summary>
    public void Freed(TimeSpan took)
    {
        lock (_gate)
        {
            _freed.Add(took);
        }
    }

    public void KillUnconfirmed()
    {
        lock (_gate)
        {
            _unconfirmed++;
        }
    }

    public void Ended(EndedClaim end)
    {
        lock (_gate)
        {
            Count(_endsByReason, end.Reason);
            if (_ends.Count == KeptEnds)
            {
                _ends.Dequeue();
            }

            _ends.Enqueue(end);
        }
    }

    /// <summary>Everything, with the state of now, in the text format of Prometheus (version 0.0.4).</summary>
    public string Metrics(BrokerStatus now)
    {
        var text = new MetricsText();
        lock (_gate)
        {
            text.Gauge("slots_used", "Slots taken, also by sandboxes that are being created or killed.", "service", now.Accounts, a => (a.Service, a.Used));
            text.Gauge("slots_limit", "The smallest limit in force.", "service", now.Accounts.Where(a => a.Limit is not null), a => (a.Service, a.Limit!.Value));
            text.Gauge("queue_length", "Claims that wait for a slot.", "service", now.Accounts, a => (a.Service, a.Queued));
            text.Gauge("claims", "Open claims by state.", "state", now.Claims.GroupBy(c => c.State), g => (g.Key, g.Count()));
            text.Gauge("spares", "Warm spares.", now.Spares);
            text.Counter("claims_opened_total", "Claims opened.", _opened);
            text.Counter("claims_ended_total", "Claims ended, by reason.", "reason", _endsByReason);
            text.Counter("creates_failed_total", "Orders that the service did not fulfil, by fault.", "fault", _failedOrders);
            text.Counter("kills_unconfirmed_total", "Kills that were never confirmed; the lease has ended since.", _unconfirmed);
            text.Histogram("queue_wait_seconds", "From a claim to its slot.", _waited);
            text.Histogram("create_seconds", "From the order to the sandbox.", _created);
            text.Histogram("time_to_free_seconds", "From the wish to end a sandbox to its free slot.", _freed);
        }

        return text.ToString();
    }

    private static void Count(Dictionary<string, long> counts, string name)
    {
        name = counts.Count < KeptReasons || counts.ContainsKey(name) ? name : "other";
        counts[name] = counts.GetValueOrDefault(name) + 1;
    }
}
