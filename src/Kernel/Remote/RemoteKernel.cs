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
    private static readonly TimeSpan s_drain = TimeSpan.FromMilliseconds(500);

    private readonly Claim _claim;
    private readonly IAsyncEnumerator<ClaimEvent> _events;
    private readonly RelayLink _link;
    private readonly TimeProvider _time;
    private readonly KernelLog _log;
    private readonly CancellationTokenSource _lost = new();
    private EndOfRemote? _end;
    private bool _givenUp;

    /// <summary>Makes it. <see cref="StartAsync"/> starts the kernel.</summary>
    public RemoteKernel(
        Claim claim, IAsyncEnumerator<ClaimEvent> events, Sandbox.Sandbox sandbox, ProcessStart attach, TimeProvider time, KernelLog log)
    {
        _claim = claim;
        _events = events;
        _time = time;
        _log = log;
        _link = new RelayLink(
            cancellationToken => SandboxAttachment.StartAsync(sandbox, attach, log.Debug, cancellationToken),
            new RelayLinkOptions { IsFinal = e => e is SandboxLostException or SandboxException { Reason: SandboxFault.Authentication or SandboxFault.CommandFailed } },
            time);
        _link.Start();
        _ = WatchClaimAsync();
    }

    /// <inheritdoc/>
    public event Action<string>? Notice;

    /// <inheritdoc/>
    public ReadOnlyMemory<byte> KernelInfo { get; private set; }

    /// <summary>Starts the kernel; returns when it answers.</summary>
    /// <exception cref="RemoteUnavailableException">It can't be started; the text says why.</exception>
    public async Task StartAsync(StartKernel order, CancellationToken cancellationToken)
    {
        _link.SendCommand(order);
        await foreach (var item in ItemsAsync(cancellationToken).ConfigureAwait(false))
        {
            switch (item)
            {
                case RelayItemEvent { Event: KernelStarted started }:
                    KernelInfo = started.KernelInfo is { } info ? Encoding.UTF8.GetBytes(info) : default;
                    return;
                case RelayItemEvent { Event: KernelStartFailed failed }:
                    throw new RemoteUnavailableException("KernelStartFailed", Describe($"The kernel could not be started in the sandbox: {failed.Message}", failed.Ending));
                case RelayItemEvent { Event: KernelDied { Commanded: false } died }:
                    throw new RemoteUnavailableException("KernelStartFailed", Describe("The kernel ended while it started.", died.Ending));
            }
        }

        var end = EndOfLink();
        throw new RemoteUnavailableException(end.Name, end.Message);
    }

    /// <inheritdoc/>
    public void Send(JupyterChannel channel, JupyterMessage message)
    {
        // Signed anew by the relay, with the remote kernel's key: the key of this machine stays on it.
        _link.Send((RelayChannel)channel, MessageFraming.ToFrames(message, signature: default));
    }

    /// <inheritdoc/>
    public void Interrupt() => _link.SendCommand(new InterruptKernel());

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
                case RelayItemEvent { Event: KernelInterrupted }:
                    yield return new RemoteItem.Interrupted();
                    break;
                case RelayItemEvent { Event: OutputDropped dropped }:
                    yield return new RemoteItem.Dropped(dropped.Bytes);
                    break;
                case RelayItemEvent { Event: KernelDied { Commanded: false } died }:
                    yield return new RemoteItem.Ended(new EndOfRemote(KernelDied: true, "KernelDied", DescribeDeath(died)));
                    yield break;
                case RelayItemEvent { Event: UnknownRelayEvent unknown }:
                    _log.Debug($"The relay told '{unknown.Name}', which this version does not know.");
                    break;
            }
        }

        yield return new RemoteItem.Ended(EndOfLink());
    }

    /// <inheritdoc/>
    public async Task ReleaseAsync(TimeSpan limit)
    {
        _givenUp = true;
        await BoundedAsync(_claim.ReleaseAsync, limit, "The sandbox was not confirmed to be gone; the broker goes on with it.").ConfigureAwait(false);
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
        _lost.Dispose();
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

    /// <summary>The claim's stream says when the sandbox is gone; its end without a word says that the broker is.</summary>
    private async Task WatchClaimAsync()
    {
        EndOfRemote end;
        try
        {
            end = BrokerGone("its stream ended");
            while (await _events.MoveNextAsync().ConfigureAwait(false))
            {
                if (_events.Current is { Event: ClaimEvents.Lost or ClaimEvents.Failed } last)
                {
                    end = new EndOfRemote(KernelDied: false, "SandboxLost", last.Message ?? $"The sandbox is gone ({last.Reason}).");
                    break;
                }
            }
        }
        catch (Exception e)
        {
            end = BrokerGone(e.Message);
        }

        if (_givenUp)
        {
            return;
        }

        Interlocked.CompareExchange(ref _end, end, null);

        // What the sandbox still said is on its way to us: it gets a moment to arrive.
        await Task.Delay(s_drain, _time, CancellationToken.None).ConfigureAwait(false);
        await _lost.CancelAsync().ConfigureAwait(false);
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

    private EndOfRemote EndOfLink() => _end ?? new EndOfRemote(
        KernelDied: false, "SandboxLost", $"The connection to the kernel in the sandbox ended for good: {(_link.Completion.IsCompletedSuccessfully ? _link.Completion.Result.Message : "closed")} Its variables and files are lost.");

    private static EndOfRemote BrokerGone(string why) => new(
        KernelDied: false,
        "BrokerLost",
        $"The broker that held the sandbox is gone ({why}); the sandbox, its variables and its files are lost. Restart the kernel to get a new one.");

    private static string DescribeDeath(KernelDied died) => Describe(
        (died.OutOfMemory == true ? "The kernel in the sandbox was killed because it ran out of memory"
            : died.Ending.Signal is { } signal ? $"The kernel in the sandbox was killed by {signal}"
            : $"The kernel in the sandbox ended by itself with exit code {died.Ending.ExitCode}")
        + ". Its variables are lost. Restart the kernel to go on"
        + (died.OutOfMemory == true ? ", with more memory (setting 'memory') or less data." : "."),
        died.Ending);

    private static string Describe(string what, KernelEnding ending) => ending.Stderr.Length == 0
        ? what
        : $"{what}\nIts last words:\n{ending.Stderr.TrimEnd()}";

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
