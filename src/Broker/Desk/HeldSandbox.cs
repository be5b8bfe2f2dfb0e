using System.Diagnostics.CodeAnalysis;
using Microsoft.Extensions.Logging;

namespace InterpreterKernel.Broker;

/// <summary>
/// One sandbox from the order to the confirmed end; it occupies a slot for exactly as long as the service may count it.
/// </summary>
/// <remarks>
/// <code>
///   Start ── (1) create ──► (2) renew every third of the lifetime ──► (3) kill, until confirmed or surely expired ──► Completion
///                │                      ▲            │
///                └ refused: no slot     End ─────────┘ lost: expired, or killed by somebody
/// </code>
/// <see cref="End"/> may come at any moment. During (1) the order is not cancelled: an order that is broken off may still
/// have its effect, and only its answer names the sandbox to kill.
/// </remarks>
[SuppressMessage("Design", "CA1001", Justification = "The token source has no timer and may be fired late, so it is never disposed.")]
internal sealed class HeldSandbox
{
    // Each attempt is short, so that a network that comes back is used soon.
    private static readonly TimeSpan s_attempt = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan s_renewalPause = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan s_firstPause = TimeSpan.FromMilliseconds(250);
    private static readonly TimeSpan s_longestPause = TimeSpan.FromSeconds(5);

    // The service counts from when it handled the last renewal, and needs a moment to stop the machine.
    private static readonly TimeSpan s_expiryMargin = TimeSpan.FromSeconds(5);

    // E2B gives an order up at 70 s, our client at 60: what appears in between has to be looked for once more.
    private static readonly TimeSpan s_lateCreation = TimeSpan.FromSeconds(12);

    private const int BusyAttempts = 4;
    private const long Never = long.MinValue;

    private readonly ISandboxService _service;
    private readonly SandboxSpec _spec;
    private readonly TimeProvider _time;
    private readonly Ledger _ledger;
    private readonly ILogger _log;
    private readonly CancellationTokenSource _end = new();
    private readonly TaskCompletionSource<Creation> _created = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource<Loss> _lost = new(TaskCreationOptions.RunContinuationsAsynchronously);

    private long _endAsked = Never;

    private HeldSandbox(ISandboxService service, SandboxSpec spec, TimeProvider time, Ledger ledger, ILogger log)
    {
        _service = service;
        _spec = spec;
        _time = time;
        _ledger = ledger;
        _log = log;
        Stage = new HeldStage(HeldState.Creating, time.GetUtcNow(), null, null);
    }

    /// <summary>Where it stands. Replaced as a whole, since lists are made on other threads.</summary>
    public HeldStage Stage { get; private set; }

    /// <summary>What last went wrong with renewing or killing, until it is mended. For people.</summary>
    public string? Trouble { get; private set; }

    /// <summary>The sandbox, or why there is none. Never fails.</summary>
    public Task<Creation> Created => _created.Task;

    /// <summary>Ends when the sandbox is gone although nobody here wanted that. Never fails.</summary>
    public Task<Loss> Lost => _lost.Task;

    /// <summary>Ends when the service no longer counts it (true), or never did, so that the slot is still the claim's (false).</summary>
    public Task<bool> Completion { get; private set; } = Task.FromResult(false);

    public bool IsEnding => _end.IsCancellationRequested || Stage.State is HeldState.Killing or HeldState.Gone;

    public static HeldSandbox Start(ISandboxService service, SandboxSpec spec, TimeProvider time, Ledger ledger, ILogger log)
    {
        var held = new HeldSandbox(service, spec, time, ledger, log);
        held.Completion = held.LiveAsync();
        return held;
    }

    /// <summary>Kills it, now. The request is on its way when this returns, unless the sandbox is still being created.</summary>
    public void End()
    {
        Interlocked.CompareExchange(ref _endAsked, _time.GetTimestamp(), Never);
        _end.Cancel();
    }

    private async Task<bool> LiveAsync()
    {
        // :: (1)
        CreatedSandbox sandbox;
        var ordered = _time.GetTimestamp();
        try
        {
            sandbox = await CreateAsync();
        }
        catch (ServiceException e)
        {
            _ledger.OrderFailed(e.Fault);
            if (e.IsUnclear)
            {
                Enter(HeldState.Killing);
                _created.TrySetResult(new Creation(null, e));
                await KillUnnamedAsync(e);
                Enter(HeldState.Gone);
                return true;
            }

            Enter(HeldState.Gone);
            _created.TrySetResult(new Creation(null, e));
            return false;
        }

        var started = _time.GetUtcNow();
        Stage = new HeldStage(HeldState.Ready, started, started, sandbox.Id);
        _log.SandboxCreated(sandbox.Id, _spec.Template);
        _ledger.Created(_time.GetElapsedTime(ordered));
        _created.TrySetResult(new Creation(sandbox, null));

        // :: (2)
        var (aliveUntil, gone) = await RenewAsync(sandbox.Id, started + _spec.Lifetime);

        // :: (3)
        Enter(HeldState.Killing);
        if (!gone)
        {
            await KillAsync(sandbox.Id, aliveUntil + s_expiryMargin);
        }

        Enter(HeldState.Gone);
        return true;
    }

    private async Task<CreatedSandbox> CreateAsync()
    {
        for (var attempt = 1; ; attempt++)
        {
            try
            {
                return await _service.CreateAsync(_spec, CancellationToken.None);
            }
            catch (ServiceException e) when (e.Fault == ServiceFault.Busy && attempt < BusyAttempts && !_end.IsCancellationRequested)
            {
                _log.ServiceBusy(e.Message);
                await PauseAsync(e.RetryAfter ?? TimeSpan.FromSeconds(1 << (attempt - 1)), _end.Token);
                if (_end.IsCancellationRequested)
                {
                    throw;
                }
            }
            catch (Exception e) when (e is not ServiceException)
            {
                // A fault of ours must not cost a slot for good: treat it as the unclear outcome it is.
                _log.Unexpected(e);
                throw new ServiceException(ServiceFault.ServiceError, e.Message, null, e);
            }
        }
    }

    /// <summary>Keeps the lease until <see cref="End"/> or until the sandbox is gone, as <c>Gone</c> says.</summary>
    private async Task<(DateTimeOffset AliveUntil, bool Gone)> RenewAsync(string id, DateTimeOffset aliveUntil)
    {
        var interval = _spec.Lifetime / 3;
        // What we may rely on, and what may be true: a renewal without an answer may have had its effect.
        var reliesUntil = aliveUntil;
        var pause = interval;
        while (true)
        {
            await PauseAsync(pause, _end.Token);
            if (_end.IsCancellationRequested)
            {
                return (aliveUntil, false);
            }

            var asked = _time.GetUtcNow();
            using var attempt = new Attempt(s_attempt, _time, _end.Token);
            try
            {
                await _service.SetTimeoutAsync(id, _spec.Lifetime, attempt.Token);
                Trouble = null;
                reliesUntil = asked + _spec.Lifetime;
                pause = interval;
            }
            catch (ServiceException e) when (e.Fault == ServiceFault.NotFound)
            {
                var reason = asked >= reliesUntil ? ClaimReasons.Expired : ClaimReasons.Killed;
                Lose(id, reason, Trouble);
                return (aliveUntil, true);
            }
            catch (Exception e)
            {
                if (_end.IsCancellationRequested)
                {
                    return (Later(aliveUntil, _time.GetUtcNow() + _spec.Lifetime), false);
                }

                Trouble = $"The lease could not be renewed: {Explain(e)}";
                _log.RenewalFailed(id, Explain(e));
                if (_time.GetUtcNow() >= reliesUntil)
                {
                    Lose(id, e is ServiceException { Fault: ServiceFault.Authentication } ? ClaimReasons.Authentication : ClaimReasons.Expired, Trouble);
                    return (Later(aliveUntil, _time.GetUtcNow() + _spec.Lifetime), false);
                }

                pause = s_renewalPause;
            }

            aliveUntil = Later(aliveUntil, _time.GetUtcNow() + _spec.Lifetime);
        }
    }

    private void Lose(string id, string reason, string? trouble)
    {
        _log.SandboxLost(id, reason);
        _lost.TrySetResult(new Loss(reason, trouble, _time.GetUtcNow() - Stage.Started.GetValueOrDefault()));
    }

    private async Task KillAsync(string id, DateTimeOffset surelyGone)
    {
        var started = _time.GetTimestamp();
        for (var pause = s_firstPause; ; pause = Shorter(pause * 2, s_longestPause))
        {
            using var attempt = new Attempt(s_attempt, _time, CancellationToken.None);
            try
            {
                var killed = await _service.KillAsync(id, attempt.Token);
                Trouble = null;
                _log.SandboxKilled(id, killed, _time.GetElapsedTime(started).TotalMilliseconds);
                _ledger.Freed(_time.GetElapsedTime(_endAsked == Never ? started : _endAsked));
                return;
            }
            catch (Exception e)
            {
                Trouble = $"The kill is not confirmed: {Explain(e)}";
                _log.KillFailed(id, Explain(e));
            }

            if (_time.GetUtcNow() is var now && now >= surelyGone)
            {
                _log.KillGivenUp(id);
                _ledger.KillUnconfirmed();
                return;
            }

            await PauseAsync(Shorter(pause, surelyGone - now), CancellationToken.None);
        }
    }

    /// <summary>The order failed without saying whether there is a sandbox: look for it by the claim's tag, and kill it.</summary>
    private async Task KillUnnamedAsync(ServiceException fault)
    {
        var surelyGone = _time.GetUtcNow() + _spec.Lifetime + s_lateCreation;
        var mayAppearUntil = fault.Fault == ServiceFault.Timeout ? _time.GetUtcNow() + s_lateCreation : _time.GetUtcNow();
        var ownTags = _spec.Metadata.Where(tag => tag.Key is SandboxTags.Broker or SandboxTags.Claim).ToDictionary();
        for (var pause = s_firstPause; _time.GetUtcNow() < surelyGone; pause = Shorter(pause * 2, s_longestPause))
        {
            using var attempt = new Attempt(s_attempt, _time, CancellationToken.None);
            try
            {
                await foreach (var found in _service.ListAsync(ownTags, attempt.Token))
                {
                    await KillAsync(found.Id, surelyGone);
                }

                if (_time.GetUtcNow() >= mayAppearUntil)
                {
                    return;
                }
            }
            catch (Exception e)
            {
                Trouble = $"It is not known whether a sandbox was created: {Explain(e)}";
                _log.LookForFailed(Explain(e));
            }

            await PauseAsync(pause, CancellationToken.None);
        }
    }

    /// <summary>Waits; a cancelled wait just ends, and the caller looks at the token.</summary>
    private async Task PauseAsync(TimeSpan pause, CancellationToken cancellation) =>
        await Task.Delay(pause > TimeSpan.Zero ? pause : TimeSpan.Zero, _time, cancellation)
            .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);

    private void Enter(HeldState state) => Stage = Stage with { State = state, Since = _time.GetUtcNow() };

    private static string Explain(Exception e) => e is OperationCanceledException ? $"no answer within {s_attempt.TotalSeconds:0} s" : e.Message;

    private static DateTimeOffset Later(DateTimeOffset a, DateTimeOffset b) => a > b ? a : b;

    private static TimeSpan Shorter(TimeSpan a, TimeSpan b) => a < b ? a : b;
}

internal enum HeldState
{
    Creating,
    Ready,
    Killing,
    Gone,
}

/// <param name="State">What it does.</param>
/// <param name="Since">Since when.</param>
/// <param name="Started">When the sandbox was created, once it was.</param>
/// <param name="Sandbox">The sandbox's id, once it has one.</param>
internal sealed record HeldStage(HeldState State, DateTimeOffset Since, DateTimeOffset? Started, string? Sandbox);

/// <summary>How an order ended: with a sandbox, or with a fault.</summary>
internal sealed record Creation(CreatedSandbox? Sandbox, ServiceException? Fault);

/// <param name="Reason">One of <see cref="ClaimReasons"/>.</param>
/// <param name="Trouble">What went wrong before, if something did.</param>
/// <param name="Lived">How long the sandbox was there.</param>
internal sealed record Loss(string Reason, string? Trouble, TimeSpan Lived);
