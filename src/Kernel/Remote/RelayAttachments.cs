using System.Net.Sockets;
using InterpreterKernel.Kernel.Lifecycle;

namespace InterpreterKernel.Kernel.Remote;

/// <summary>
/// Makes the attachments of one kernel's link, one after the other: through a process that waits in a spare, through one that brings
/// the relay along, or through one that finds it there. Each is direct where the process listens for us, and else goes by the service.
/// </summary>
/// <param name="sandbox">Where.</param>
/// <param name="relay">The relay to run there.</param>
/// <param name="waiting">In a spare, which has the relay: the process that waits to be its first attachment.</param>
/// <param name="log">The kernel's log.</param>
internal sealed class RelayAttachments(Sandbox.Sandbox sandbox, RelayFile relay, uint? waiting, KernelLog log)
{
    private readonly bool _hadRelay = waiting is not null;
    private uint? _waiting = waiting;
    private bool _listen = true;

    /// <summary>The next one.</summary>
    /// <param name="hasRelay">Whether a relay has spoken from there already.</param>
    /// <param name="cancellationToken">Gives it up.</param>
    public async Task<IRelayAttachment> NextAsync(bool hasRelay, CancellationToken cancellationToken)
    {
        try
        {
            return await OpenAsync(hasRelay, cancellationToken).ConfigureAwait(false);
        }
        catch (SocketException e) when (_listen)
        {
            _listen = false;
            log.Warning($"a socket of the broker's host can't be reached ({e.Message}), as when one of us is in a container; what the sandbox says goes through the broker");
            return await OpenAsync(hasRelay, cancellationToken).ConfigureAwait(false);
        }
    }

    private async Task<IRelayAttachment> OpenAsync(bool hasRelay, CancellationToken cancellationToken)
    {
        var waiting = _waiting;
        _waiting = null;
        var brings = !_hadRelay && !hasRelay;
        var attach = brings ? relay.AttachFirst : relay.Attach;
        var process = waiting is { } pid
            ? await sandbox.Commands.ConnectAsync(pid, cancellationToken).ConfigureAwait(false)
            : await sandbox.Commands.StartAsync(attach with { Listen = _listen }, cancellationToken).ConfigureAwait(false);
        IRelayAttachment? attachment = null;
        try
        {
            var words = new AttachWords(log.Debug);
            attachment = process.Socket is { } path
                ? await DirectAttachment.OpenAsync(process, path, words, cancellationToken).ConfigureAwait(false)
                : await SandboxAttachment.OpenAsync(process, words, cancellationToken).ConfigureAwait(false);
            if (brings)
            {
                await attachment.WriteAsync(relay.Content, cancellationToken).ConfigureAwait(false);
            }

            return attachment;
        }
        catch
        {
            await (attachment ?? (IAsyncDisposable)process).DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }
}
