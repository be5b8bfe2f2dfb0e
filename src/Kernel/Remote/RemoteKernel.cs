using System.Runtime.CompilerServices;
using System.Text;
using InterpreterKernel.Broker;
using InterpreterKernel.Kernel.Lifecycle;
using InterpreterKernel.Protocol.Jupyter;
using InterpreterKernel.Protocol.Relay;
using InterpreterKernel.Sandbox;

namespace InterpreterKernel.Kernel.Remote;

/// <summary>
/// A Jupyter kernel in a claimed sandbox. Two things can end it: the relay's word that the kernel died, and the claim's that
/// the sandbox is gone; whichever comes first is the reason. A dropped network is neither: the link attaches again.
/// </summary>
internal sealed class RemoteKernel : IRemoteKernel
{
    private static readonly TimeSpan s_untilNotice = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan s_orphan = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan s_report = TimeSpan.FromMilliseconds(250);
    private static readonly TimeSpan s_drain = TimeSpan.FromMilliseconds(500);

    private readonly Claim _claim;
    private readonly IAsyncEnumerator<ClaimEvent> _events;
    private readonly Sandbox.Sandbox _sandbox;
    private readonly RelayLink _link;
    private readonly TimeProvider _time;
    private readonly KernelLog _log;
    private readonly CancellationTokenSource _lost = new();
    private EndOfRemote? _end;
    private bool _givenUp;
    private Task _orphan = Task.CompletedTask;

    /// <summary>Makes it. <see cref="StartAsync"/> starts the kernel.</summary>
    /// <param name="claim">The claim that holds the sandbox.</param>
    /// <param name="events">What is still to come from it.</param>
    /// <param name="sandbox">The sandbox.</param>
    /// <param name="relay">The relay to run in it.</param>
    /// <param name="waiting">In a spare: the process that waits to be its first attachment.</param>
    /// <param name="session">The kernel's session id.</param>
    /// <param name="time">The clock.</param>
    /// <param name="log">The kernel's log.</param>
    public RemoteKernel(
        Claim claim,
        IAsyncEnumerator<ClaimEvent> events,
        Sandbox.Sandbox sandbox,
        RelayFile relay,
        uint? waiting,
        string session,
        TimeProvider time,
        KernelLog log)
    {
        Session = session;
        _claim = claim;
        _events = events;
        _sandbox = sandbox;
        _time = time;
        _log = log;
        var attachments = new RelayAttachments(sandbox, relay, waiting, log);
        _link = new RelayLink(
            cancellationToken => attachments.NextAsync(_link!.LastHello is not null, cancellationToken),
            new RelayLinkOptions
            {
                IsFinal = e => e is SandboxLostException or SandboxException { Reason: SandboxFault.Authentication or SandboxFault.CommandFailed },
                FinalAfter = 3,
            },
            time);
        _link.Start();
        _ = WatchClaimAsync();
    }

    /// <inheritdoc/>
    public event Action<string>? Notice;

    /// <inheritdoc/>
    public string Session { get; private set; }

    /// <inheritdoc/>
    public Sandbox.Sandbox? Box => _sandbox;

    /// <inheritdoc/>
    public bool IsReachable => _link.Connection.IsConnected;

    /// <inheritdoc/>
    public ReadOnlyMemory<byte> KernelInfo { get; private set; }

    /// <summary>Starts the kernel; returns when it answers.</summary>
    /// <param name="kernel">The kernelspec in the sandbox.</param>
    /// <param name="adopt">Whether one that waits there already will do.</param>
    /// <param name="limit">How long that may take.</param>
    /// <param name="cancellationToken">Gives it up.</param>
    /// <exception cref="RemoteUnavailableException">It can't be started; the text says why.</exception>
    public async Task StartAsync(string kernel, bool adopt, TimeSpan limit, CancellationToken cancellationToken)
    {
        using var late = new CancellationTokenSource(limit, _time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, late.Token);
        _link.SendCommand(new StartKernel(kernel, Session) { Adopt = adopt });
        try
        {
            await foreach (var item in ItemsAsync(either.Token).ConfigureAwait(false))
            {
                switch (item)
                {
                    case RelayItemEvent { Event: KernelStarted started }:
                        KernelInfo = InfoOf(started);
                        return;
                    case RelayItemEvent { Event: KernelStartFailed failed }:
                        throw new RemoteUnavailableException("KernelStartFailed", RemoteEnds.StartFailed(failed));
                    case RelayItemEvent { Event: KernelDied { Commanded: false } died }:
                        throw new RemoteUnavailableException("KernelStartFailed", RemoteEnds.DiedAtStart(died));
                }
            }
        }
        catch (OperationCanceledException) when (late.IsCancellationRequested && !cancellationToken.IsCancellationRequested)
        {
            throw RemoteEnds.StartTimeout(limit, _link.Connection);
        }

        var end = await EndOfLinkAsync().ConfigureAwait(false);
        throw new RemoteUnavailableException(end.Name, end.Message);
    }

    /// <inheritdoc/>
    public void Send(JupyterChannel channel, JupyterMessage message)
    {
        // Signed anew by the relay, with the remote kernel's key: the key of this machine stays on it.
        _link.Send((RelayChannel)channel, MessageFraming.ToFrames(message, signature: default));
    }

    /// <inheritdoc/>
    public void Rest() => _link.Rest();

    /// <inheritdoc/>
    public void Interrupt(string? cell = null) => _link.SendCommand(new InterruptKernel(cell));

    /// <inheritdoc/>
    public void Restart(string session)
    {
        Session = session;
        _link.SendCommand(new RestartKernel(session));
    }

    /// <inheritdoc/>
    public async IAsyncEnumerable<RemoteItem> ReadAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        using var away = new LinkNotice(_link, s_untilNotice, _time, text => Notice?.Invoke(text));
        await foreach (var item in ItemsAsync(cancellationToken).ConfigureAwait(false))
        {
            switch (item)
            {
                case RelayItemMessage { Message: var message }:
                    if (MessageOf(message) is { } read)
                    {
                        yield return read;
                    }

                    break;
                case RelayItemEvent { Event: KernelInterrupted interrupted }:
                    yield return new RemoteItem.Interrupted(interrupted.Cell, interrupted.Delivered);
                    break;
                case RelayItemEvent { Event: KernelKilled }:
                    yield return new RemoteItem.Killed();
                    break;
                case RelayItemEvent { Event: KernelStarted started }:
                    yield return new RemoteItem.Restarted(InfoOf(started));
                    break;
                case RelayItemEvent { Event: KernelStartFailed failed }:
                    yield return new RemoteItem.RestartFailed(RemoteEnds.StartFailed(failed));
                    break;
                case RelayItemEvent { Event: OutputDropped dropped }:
                    yield return new RemoteItem.Dropped(dropped.Bytes);
                    break;
                case RelayItemEvent { Event: KernelDied { Commanded: false } died }:
                    yield return new RemoteItem.Ended(await ReportedAsync(RemoteEnds.Died(died)).ConfigureAwait(false));
                    yield break;
                case RelayItemEvent { Event: UnknownRelayEvent unknown }:
                    _log.Debug($"The relay told '{unknown.Name}', which this version does not know.");
                    break;
            }
        }

        yield return new RemoteItem.Ended(_end ?? await ReportedAsync(await EndOfLinkAsync().ConfigureAwait(false)).ConfigureAwait(false));
    }

    /// <inheritdoc/>
    public async Task ReleaseAsync(TimeSpan limit)
    {
        _givenUp = true;
        var released = BoundedAsync(_claim.ReleaseAsync, limit, "The sandbox was not confirmed to be gone; the broker goes on with it.");

        // Meanwhile: what it would write from now on meets a connection that ends, and finding out why takes longer than all the rest.
        _link.End("the sandbox was given up");
        await released.ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public async Task HandOverAsync(TimeSpan limit)
    {
        _givenUp = true;
        await BoundedAsync(_claim.HandoverAsync, limit, "The sandbox could not be kept for the restarted kernel, which will get a new one.").ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        _givenUp = true;
        await _claim.DisposeAsync().ConfigureAwait(false);
        await _link.DisposeAsync().ConfigureAwait(false);
        await _orphan.ConfigureAwait(false);
        _lost.Dispose();
    }

    /// <summary>What only this process can see is told to the broker as well, so that <c>status</c> knows why. It may not hold up the cell.</summary>
    private async Task<EndOfRemote> ReportedAsync(EndOfRemote end)
    {
        if (_givenUp)
        {
            // Our own doing, which the broker knows.
            return end;
        }

        await BoundedAsync(
            cancellation => _claim.ReportAsync(new HolderReport(end.Name, end.Message), cancellation), s_report, "The broker was not told how it ended.")
            .ConfigureAwait(false);
        return end;
    }

    private async Task BoundedAsync(Func<CancellationToken, Task> ask, TimeSpan limit, string otherwise)
    {
        using var bound = new CancellationTokenSource(limit, _time);
        try
        {
            await ask(bound.Token).ConfigureAwait(false);
        }
        catch (Exception e) when (e is OperationCanceledException or BrokerException)
        {
            _log.Warning($"{otherwise} ({e.Message})");
        }
    }

    private async Task WatchClaimAsync()
    {
        var (end, orphaned) = await EndOfClaimAsync().ConfigureAwait(false);
        if (_givenUp)
        {
            return;
        }

        if (orphaned)
        {
            _orphan = KillOrphanAsync();
        }

        Interlocked.CompareExchange(ref _end, end, null);

        // What the sandbox still said is on its way to us: it gets a moment to arrive.
        await Task.Delay(s_drain, _time, CancellationToken.None).ConfigureAwait(false);
        await _lost.CancelAsync().ConfigureAwait(false);
    }

    /// <summary>Waits for the claim's last word, and says whether the sandbox outlived its broker.</summary>
    private async Task<(EndOfRemote End, bool Orphaned)> EndOfClaimAsync()
    {
        try
        {
            while (await _events.MoveNextAsync().ConfigureAwait(false))
            {
                if (_events.Current is { Event: ClaimEvents.Lost or ClaimEvents.Failed } last)
                {
                    return (RemoteEnds.ClaimLost(last), last.Reason == ClaimReasons.Broker);
                }
            }

            return (RemoteEnds.BrokerGone("its stream ended"), true);
        }
        catch (Exception e)
        {
            return (RemoteEnds.BrokerGone(e.Message), true);
        }
    }

    /// <summary>With the broker gone only this process knows of the sandbox; otherwise its slot were taken until the lease ends.</summary>
    private async Task KillOrphanAsync()
    {
        using var bound = new CancellationTokenSource(s_orphan, _time);
        try
        {
            await _sandbox.KillAsync(bound.Token).ConfigureAwait(false);
        }
        catch (Exception e) when (e is OperationCanceledException or SandboxException)
        {
            // An embedded sandbox went with the broker; one far away goes when its lease ends, or with the next broker's sweep.
            _log.Debug("The sandbox without a broker was not confirmed to be gone: " + e.Message);
        }
    }

    private async IAsyncEnumerable<RelayItem> ItemsAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        using var both = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _lost.Token);
        var items = _link.ReadAllAsync(both.Token).GetAsyncEnumerator(CancellationToken.None);
        await using var ownership = items.ConfigureAwait(false);
        while (true)
        {
            try
            {
                if (!await items.MoveNextAsync().ConfigureAwait(false))
                {
                    yield break;
                }
            }
            catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
            {
                yield break;
            }

            yield return items.Current;
        }
    }

    /// <summary>When nothing more comes over the link: why. That it ended itself is said a moment after its last item was taken.</summary>
    private async Task<EndOfRemote> EndOfLinkAsync() => _end ?? RemoteEnds.LinkEnded(await _link.Completion.ConfigureAwait(false));

    private static ReadOnlyMemory<byte> InfoOf(KernelStarted started) => started.KernelInfo is { } info ? Encoding.UTF8.GetBytes(info) : default;

    private RemoteItem.Message? MessageOf(RelayMessage message)
    {
        if (MessageFraming.TryRead([.. message.Frames], out var read, out _, out var fault))
        {
            return new RemoteItem.Message((JupyterChannel)message.Channel, read);
        }

        _log.Warning($"The kernel in the sandbox sent something that is no Jupyter message ({fault}); it was dropped.");
        return null;
    }
}
