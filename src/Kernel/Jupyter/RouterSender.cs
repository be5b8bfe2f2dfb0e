using System.Text;
using InterpreterKernel.Protocol.ZeroMq;

namespace InterpreterKernel.Kernel.Jupyter;

/// <summary>
/// Sends on a ROUTER, whose queues have no limit of their own: a client that asks and never reads is kept from filling
/// our memory by counting what libzmq holds for it. Used by the socket thread only.
/// </summary>
internal sealed class RouterSender(ZeroMqSocket socket, long bytesPerPeer, Action released)
{
    // Clients come and go with new identities; the ones that hold nothing are forgotten when so many are known.
    private const int PruneAt = 64;

    private readonly Dictionary<string, HeldMessages> _peers = new(StringComparer.Ordinal);

    /// <summary>Whether everything has left.</summary>
    internal bool IsDrained => _peers.Values.All(peer => peer.Count == 0);

    /// <summary>Sends, or returns false when the client has too much unread already. A client that is gone loses it, as with any ROUTER.</summary>
    internal bool TrySend(in OutgoingMessage message)
    {
        var name = Encoding.Latin1.GetString(message.Frames[0].Span);
        if (!_peers.TryGetValue(name, out var held))
        {
            Prune();
            _peers.Add(name, held = new HeldMessages(released));
        }

        return held.Bytes <= bytesPerPeer && socket.TrySend(message.Frames, held, message.Cost);
    }

    private void Prune()
    {
        if (_peers.Count >= PruneAt)
        {
            foreach (var (name, held) in _peers)
            {
                if (held.Count == 0)
                {
                    _peers.Remove(name);
                }
            }
        }
    }
}
