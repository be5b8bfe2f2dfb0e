namespace InterpreterKernel.Broker;

/// <summary>
/// The slots of one service account, and the queue for them. First come, first served, with one exception: a claim that
/// only its own, smaller limit holds back does not hold back those behind it, who are allowed more.
/// </summary>
internal sealed class Slots : IDisposable
{
    /// <summary>The limit of a claim that names none.</summary>
    public const int DefaultLimit = 20;

    private static readonly TimeSpan s_longestPause = TimeSpan.FromMinutes(2);

    private readonly Lock _gate = new();
    private readonly TimeProvider _time;
    private readonly int _configured;
    private readonly LearnedLimit _learned;
    private readonly List<Ticket> _waiting = [];
    private readonly List<Ticket> _granted = [];
    private readonly ITimer _timer;
    private readonly Pace? _pace;
    private DateTimeOffset _pausedUntil;

    // When the orders so far would all be due, had they been placed one each interval.
    private DateTimeOffset _pacedUntil = DateTimeOffset.UnixEpoch;
    private long _lastNumber;

    // A null limit leaves it to the claims and the service; a null pace sets none.
    public Slots(TimeProvider time, int? configured, Pace? pace = null)
    {
        _time = time;
        _pace = pace;
        _configured = configured ?? int.MaxValue;
        _learned = new LearnedLimit(time);
        _timer = time.CreateTimer(_ => OnTimer(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>Joins the queue at its end; the ticket's news say at once whether that was enough.</summary>
    public Ticket Enter(int? limit)
    {
        lock (_gate)
        {
            var ticket = new Ticket(++_lastNumber, Math.Min(limit ?? DefaultLimit, _configured));
            _waiting.Add(ticket);
            Serve_NeedsLock();
            return ticket;
        }
    }

    /// <summary>A slot for a spare; null unless nobody waits and one is free.</summary>
    public Ticket? TryEnterSpare(int? limit)
    {
        lock (_gate)
        {
            var ceiling = Math.Min(limit ?? DefaultLimit, _configured);
            if (_waiting.Count > 0 || _granted.Count >= ceiling
                || WhenAllowed_NeedsLock(out var isProbe) is not { } when || isProbe || when > _time.GetUtcNow())
            {
                return null;
            }

            Paced_NeedsLock();
            var ticket = new Ticket(++_lastNumber, ceiling) { IsSpare = true, State = TicketState.Granted };
            _granted.Add(ticket);
            return ticket;
        }
    }

    /// <summary>Whether a waiting ticket would be served if it were not for spares.</summary>
    public bool IsHeldUpBySpares(Ticket ticket)
    {
        lock (_gate)
        {
            var spares = _granted.Count(t => t.IsSpare);
            var limit = LimitFor_NeedsLock(ticket);
            return _waiting.Contains(ticket) && _granted.Count >= limit && _granted.Count - spares < limit;
        }
    }

    /// <summary>A claim takes a spare's slot over; null when its own limit does not allow so many, or the slot is given up already.</summary>
    public Ticket? Exchange(Ticket spare, int? limit)
    {
        lock (_gate)
        {
            var ceiling = Math.Min(limit ?? DefaultLimit, _configured);
            var place = _granted.IndexOf(spare);
            if (place < 0 || _granted.Count > ceiling)
            {
                return null;
            }

            spare.State = TicketState.Left;
            return _granted[place] = new Ticket(++_lastNumber, ceiling) { State = TicketState.Granted };
        }
    }

    /// <summary>Gives up the place or the slot. May be called again.</summary>
    public void Leave(Ticket ticket)
    {
        lock (_gate)
        {
            _waiting.Remove(ticket);
            _granted.Remove(ticket);
            ticket.State = TicketState.Left;
            Serve_NeedsLock();
        }
    }

    /// <summary>The service created the sandbox of a granted ticket.</summary>
    public void Confirm(Ticket ticket)
    {
        lock (_gate)
        {
            if (ticket.IsProbe)
            {
                ticket.IsProbe = false;
                _learned.Exceeded(_granted.Count);
                Serve_NeedsLock();
            }
        }
    }

    /// <summary>The service has no room for one more sandbox: back to the old place, and the limit is lower from now on.</summary>
    public void Refuse(Ticket ticket)
    {
        lock (_gate)
        {
            if (_granted.Remove(ticket))
            {
                _learned.Refused(_granted.Count, ticket.IsProbe);
                Return_NeedsLock(ticket);
            }
        }
    }

    /// <summary>The service wants fewer requests: back to the old place, and nobody asks until the pause is over.</summary>
    public void Pause(Ticket ticket, TimeSpan pause)
    {
        lock (_gate)
        {
            if (_granted.Remove(ticket))
            {
                var until = _time.GetUtcNow() + (pause < s_longestPause ? pause : s_longestPause);
                _pausedUntil = until > _pausedUntil ? until : _pausedUntil;
                Return_NeedsLock(ticket);
            }
        }
    }

    public SlotCounts Count()
    {
        lock (_gate)
        {
            int? limit = _configured == int.MaxValue ? null : _configured;
            foreach (var ticket in _granted.Concat(_waiting))
            {
                limit = Math.Min(limit ?? int.MaxValue, ticket.Ceiling);
            }

            var learned = _learned.Value;
            return new SlotCounts(learned is { } l ? Math.Max(1, Math.Min(limit ?? l, l)) : limit, learned, _granted.Count(t => !t.IsSpare), _waiting.Count);
        }
    }

    /// <summary>The ticket's place in the queue, from 1; null when it does not wait.</summary>
    public int? PositionOf(Ticket ticket)
    {
        lock (_gate)
        {
            return _waiting.IndexOf(ticket) is var index and >= 0 ? index + 1 : null;
        }
    }

    public void Dispose() => _timer.Dispose();

    private void OnTimer()
    {
        lock (_gate)
        {
            Serve_NeedsLock();
        }
    }

    private void Return_NeedsLock(Ticket ticket)
    {
        ticket.State = TicketState.Waiting;
        ticket.IsProbe = false;
        var place = _waiting.FindIndex(other => other.Number > ticket.Number);
        _waiting.Insert(place < 0 ? _waiting.Count : place, ticket);
        Serve_NeedsLock();
    }

    /// <summary>Grants what can be granted, tells the others their places, and sets the timer for what only time can change.</summary>
    private void Serve_NeedsLock()
    {
        DateTimeOffset? wake = null;
        for (var i = 0; i < _waiting.Count; i++)
        {
            var ticket = _waiting[i];
            if (_granted.Count >= ticket.Ceiling)
            {
                continue;
            }

            if (WhenAllowed_NeedsLock(out var isProbe) is not { } when)
            {
                break;
            }

            if (when > _time.GetUtcNow())
            {
                wake = when;
                break;
            }

            _waiting.RemoveAt(i--);
            _granted.Add(ticket);
            Paced_NeedsLock();
            ticket.State = TicketState.Granted;
            ticket.IsProbe = isProbe;
            ticket.Tell(new TicketNews(true, 0, LimitFor_NeedsLock(ticket)));
        }

        for (var i = 0; i < _waiting.Count; i++)
        {
            _waiting[i].Tell(new TicketNews(false, i + 1, LimitFor_NeedsLock(_waiting[i])));
        }

        var pause = wake is { } at ? at - _time.GetUtcNow() : Timeout.InfiniteTimeSpan;
        _timer.Change(pause, Timeout.InfiniteTimeSpan);
    }

    /// <summary>When the account lets one more through as things are; null: not before something else changes.</summary>
    private DateTimeOffset? WhenAllowed_NeedsLock(out bool isProbe)
    {
        var when = _pace is { } pace ? Later(_pausedUntil, _pacedUntil - ((pace.Burst - 1) * pace.Interval)) : _pausedUntil;
        isProbe = _learned.Value is { } learned && _granted.Count >= learned;
        if (!isProbe)
        {
            return when;
        }

        return _granted.Exists(t => t.IsProbe) ? null : Later(_learned.NextProbe, when);
    }

    private void Paced_NeedsLock()
    {
        if (_pace is { } pace)
        {
            _pacedUntil = Later(_pacedUntil, _time.GetUtcNow()) + pace.Interval;
        }
    }

    private static DateTimeOffset Later(DateTimeOffset a, DateTimeOffset b) => a > b ? a : b;

    private int LimitFor_NeedsLock(Ticket ticket) => Math.Max(1, Math.Min(ticket.Ceiling, _learned.Value ?? int.MaxValue));
}

/// <param name="Limit">The smallest limit in force for a ticket.</param>
/// <param name="Learned">The limit that the service's refusals taught.</param>
/// <param name="Used">Slots taken, spares not counted.</param>
/// <param name="Queued">Tickets that wait.</param>
internal readonly record struct SlotCounts(int? Limit, int? Learned, int Used, int Queued);
