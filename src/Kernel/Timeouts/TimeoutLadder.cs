using InterpreterKernel.Kernel.Configuration;
using InterpreterKernel.Protocol.Jupyter;

namespace InterpreterKernel.Kernel.Timeouts;

/// <summary>
/// The clocks of all cells, and how far each that is over its limit has got up the ladder:
/// <code>
///   at the head ──► running ──(limit)──► (1) interrupt ──(2 s)──► (2) second interrupt ──(2 s)──► (3) new kernel process ──(5 s)──► (4) new sandbox
///                      │                      │                          │                            │
///                      └──────────────────────┴──── the cell ends ───────┘                            └── it runs: told, over
/// </code>
/// A cell's clock starts when the kernel says that it runs. The grace of an interrupt starts when the relay says that it was delivered:
/// a slow or broken connection must cost nobody his variables. It only decides; the bridge does. Not thread-safe: the bridge's lock guards it.
/// </summary>
internal sealed class TimeoutLadder(Settings settings, TimeProvider time, Action<string> due) : IDisposable
{
    /// <summary>A relay that confirms nothing for so long will not stop anything any more.</summary>
    private static readonly TimeSpan s_longestSilence = TimeSpan.FromSeconds(30);

    /// <summary>Code that holds the interpreter lock from its start keeps the kernel from saying that it runs.</summary>
    private static readonly TimeSpan s_untilTaken = TimeSpan.FromSeconds(1);

    private readonly Dictionary<string, CellClock> _clocks = [];
    private Limit? _notebook = settings.NotebookTimeout is { } limit ? new Limit(limit, SettingKeys.NotebookTimeout, IsShared: true) : null;
    private TimeSpan _spent;

    /// <summary>How long a cell may run that says nothing of it; null without limit.</summary>
    public Limit? Default { get; set; } = settings.CellTimeout is { } configured ? new Limit(configured, SettingKeys.CellTimeout) : null;

    /// <summary>Whether any cell is past its limit.</summary>
    public bool IsClimbing { get; private set; }

    /// <summary>What is to be said to a cell that comes when all of the notebook's time is used up; null while there is some left.</summary>
    public CellError? Spent => _notebook is { } notebook && _spent >= notebook.Time ? CellTimeout.NothingLeft(notebook, _spent) : null;

    /// <summary>Takes a cell that goes to the kernel in, and answers it the way the kernel is to see it.</summary>
    /// <param name="cell">Its execute_request.</param>
    /// <param name="language">The kernel's language, where known.</param>
    public JupyterMessage Enter(JupyterMessage cell, string? language)
    {
        var magic = TimeoutMagic.Find(cell);
        var limits = CellLimits.Read(cell, magic, Default);
        if (limits.Notebook is { } narrower && (_notebook is not { } known || narrower.Time < known.Time))
        {
            _notebook = narrower;
        }

        if (_clocks.Remove(cell.MessageId, out var earlier))
        {
            earlier.Dispose();
        }

        _clocks[cell.MessageId] = new CellClock(time, cell.MessageId, due) { Limit = limits.Cell, Notice = limits.Notice };
        return magic?.Blank(cell, language) ?? cell;
    }

    /// <summary>No other cell is before this one: it runs as soon as the kernel has it.</summary>
    public void AtHead(string cell)
    {
        if (_clocks.GetValueOrDefault(cell) is { Since: null, AtHead: null } clock && (clock.Limit ?? _notebook) is not null)
        {
            clock.AtHead = time.GetTimestamp();
            clock.WakeIn(s_untilTaken);
        }
    }

    /// <summary>The kernel says that this cell runs.</summary>
    /// <returns>What the user should see about it.</returns>
    public string? Started(string cell)
    {
        if (_clocks.GetValueOrDefault(cell) is not { } clock)
        {
            return null;
        }

        if (clock.Since is null)
        {
            Start(clock, time.GetTimestamp());
        }

        var notice = clock.Notice;
        clock.Notice = null;
        return notice;
    }

    /// <summary>The cell has ended, in whatever way. False when it had before.</summary>
    public bool Ended(string cell)
    {
        if (!_clocks.Remove(cell, out var clock))
        {
            return false;
        }

        clock.Dispose();
        if (clock.Since is { } since)
        {
            _spent += time.GetElapsedTime(since);
        }

        IsClimbing = _clocks.Values.Any(c => c.Rung != Rung.None);
        return true;
    }

    /// <summary>All cells have ended.</summary>
    public void Clear()
    {
        foreach (var cell in _clocks.Keys.ToArray())
        {
            Ended(cell);
        }
    }

    /// <summary>The time of a cell is up, its limit's or a rung's: what is to be done to it now.</summary>
    /// <param name="cell">The cell.</param>
    /// <param name="reachable">Whether the sandbox can be reached at this moment.</param>
    public Rung Climb(string cell, bool reachable)
    {
        if (_clocks.GetValueOrDefault(cell) is not { } clock || !clock.IsUp())
        {
            return Rung.None;
        }

        switch (clock)
        {
            case { Since: null }:
                if (reachable)
                {
                    Start(clock, clock.AtHead!.Value);
                }
                else
                {
                    clock.WakeIn(s_untilTaken);
                }

                return Rung.None;

            case { Rung: Rung.None }:
                IsClimbing = true;
                return clock.Step(Rung.Interrupt, s_longestSilence);

            case { Rung: Rung.Interrupt, IsDelivered: true }:
                return clock.Step(Rung.SecondInterrupt, s_longestSilence);

            case { Rung: Rung.SecondInterrupt, IsDelivered: true }:
                return clock.Step(Rung.RestartKernel, reachable ? settings.TimeoutGraces.Kill : s_longestSilence);

            case { Rung: Rung.ReplaceSandbox }:
                return Rung.None;

            default:
                return clock.Step(Rung.ReplaceSandbox, Timeout.InfiniteTimeSpan);
        }
    }

    /// <summary>The relay has taken an interrupt that was meant for this cell.</summary>
    /// <param name="cell">The cell.</param>
    /// <param name="delivered">False when the cell had ended before; its last messages are on their way.</param>
    public void InterruptTaken(string cell, bool delivered)
    {
        if (_clocks.GetValueOrDefault(cell) is not { Rung: Rung.Interrupt or Rung.SecondInterrupt, IsDelivered: false } clock)
        {
            return;
        }

        if (!delivered)
        {
            clock.WakeIn(Timeout.InfiniteTimeSpan);
            return;
        }

        clock.IsDelivered = true;
        clock.Stopper = clock.Rung;
        clock.WakeIn(clock.Rung == Rung.Interrupt ? settings.TimeoutGraces.Interrupt : settings.TimeoutGraces.SecondInterrupt);
    }

    /// <summary>The old kernel process is gone; the new one has the time of any start.</summary>
    public void KernelKilled(string cell) => _clocks.GetValueOrDefault(cell)?.WakeIn(settings.StartTimeout);

    /// <summary>The kernel could not be started again.</summary>
    public Rung GiveUpRestart(string cell) =>
        _clocks.GetValueOrDefault(cell)?.Step(Rung.ReplaceSandbox, Timeout.InfiniteTimeSpan) ?? Rung.None;

    /// <summary>Whether something was done to this cell that can have stopped it.</summary>
    public bool IsStopped(string cell) => _clocks.GetValueOrDefault(cell) is { Stopper: not Rung.None };

    /// <summary>What is to be said of the end of this cell; null when it is its own end, within its limit.</summary>
    /// <param name="cell">The cell.</param>
    /// <param name="caught">It ended as if nothing had been.</param>
    public CellError? VerdictOn(string cell, bool caught = false)
    {
        if (!IsStopped(cell))
        {
            return null;
        }

        var clock = _clocks[cell];
        return clock.Verdict ??= CellTimeout.Stopped(
            clock.Stopper, time.GetElapsedTime(clock.Since!.Value), clock.InForce!.Value, caught, settings.ContinueAfterTimeout);
    }

    /// <inheritdoc/>
    public void Dispose() => Clear();

    private void Start(CellClock clock, long since)
    {
        clock.Since = since;
        var left = _notebook is { } notebook ? notebook.Time - _spent : TimeSpan.MaxValue;
        clock.InForce = clock.Limit is { } own && own.Time <= left ? own : _notebook;
        if (clock.InForce is null)
        {
            return;
        }

        var limit = clock.Limit is { } o && o.Time <= left ? o.Time : left;
        var rest = limit - time.GetElapsedTime(since);
        clock.WakeIn(rest > TimeSpan.Zero ? rest : TimeSpan.Zero);
    }
}
