using InterpreterKernel.Protocol.Jupyter;
using InterpreterKernel.Protocol.ZeroMq;

namespace InterpreterKernel.Kernel.Jupyter;

/// <summary>What the socket thread does in a round: send what is queued, wait, receive. Used by that thread, except where noted.</summary>
internal sealed class SocketLoop
{
    // How many messages a channel gets before control is looked at again.
    private const int Burst = 16;

    // While output is blocked the round comes back to see whether a client is stuck; otherwise nothing ticks.
    private const int BlockedTick = 50;

    private static readonly JupyterChannel[] s_incoming = [JupyterChannel.Control, JupyterChannel.Stdin, JupyterChannel.Shell];

    private readonly BoundSockets _sockets;
    private readonly MessageSigner _signer;
    private readonly JupyterSocketsOptions _options;
    private readonly WakeSignal _wake;
    private readonly Action<JupyterChannel, JupyterMessage> _onMessage;
    private readonly Action<string> _log;
    private readonly Dictionary<JupyterChannel, RouterSender> _routers = [];
    private readonly Queue<HeldReply> _heldReplies = new();
    private readonly TaskCompletionSource _firstSubscriber = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly ZeroMqPoller _poller = new();
    private readonly int _wakeIndex;
    private readonly int _iopubIndex;
    private readonly int _iopubRoomIndex;
    private readonly int[] _incomingIndexes;
    private List<OutgoingMessage> _taken = [];
    private List<OutgoingMessage> _spare = [];
    private bool _watchesReleases;
    private long _badSignatures;
    private long _malformed;
    private long _repliesDropped;
    private long _handlerFaults;

    internal SocketLoop(
        BoundSockets sockets,
        WaitingSubscribers waiting,
        MessageSigner signer,
        JupyterSocketsOptions options,
        WakeSignal wake,
        Action released,
        Action<JupyterChannel, JupyterMessage> onMessage,
        Action<string> log)
    {
        _sockets = sockets;
        _signer = signer;
        _options = options;
        _wake = wake;
        _onMessage = onMessage;
        _log = log;
        Iopub = new IopubPublisher(sockets[JupyterChannel.Iopub], waiting, options, released, log);
        foreach (var channel in s_incoming)
        {
            _routers.Add(channel, new RouterSender(sockets[channel], options.PeerBytes, released));
        }

        _wakeIndex = _poller.Add(wake.Descriptor);
        _incomingIndexes = Array.ConvertAll(s_incoming, channel => _poller.Add(sockets[channel]));
        _iopubIndex = _poller.Add(sockets[JupyterChannel.Iopub]);

        // A full XPUB says "writable" all the same; but its descriptor stirs when a client has made room.
        _iopubRoomIndex = _poller.Add(sockets[JupyterChannel.Iopub].Get(ZeroMqOption.Descriptor));
        _poller.Watch(_iopubRoomIndex, false);
    }

    internal IopubPublisher Iopub { get; }

    internal Task FirstSubscriber => _firstSubscriber.Task;

    /// <summary>Whether the loop wants to be woken when libzmq lets go of a message. Any thread.</summary>
    internal bool WatchesReleases => Volatile.Read(ref _watchesReleases);

    /// <summary>Any thread.</summary>
    internal JupyterSocketsCounters Counters => new(
        Volatile.Read(ref _badSignatures),
        Volatile.Read(ref _malformed),
        Iopub.Dropped,
        Volatile.Read(ref _repliesDropped),
        Volatile.Read(ref _handlerFaults));

    internal bool IsDrained => _heldReplies.Count == 0 && Iopub.IsDrained && _routers.Values.All(router => router.IsDrained);

    /// <summary>Takes a list of new messages and gives an empty one back.</summary>
    internal List<OutgoingMessage> Take(List<OutgoingMessage> queued)
    {
        (_taken, var empty) = (queued, _spare);
        return empty;
    }

    /// <summary>Hands over to libzmq what may go; the result is its cost. When <paramref name="closing"/>, no reply waits for output.</summary>
    internal long Send(bool closing)
    {
        long handedOver = 0;
        foreach (var message in _taken)
        {
            if (message.Channel == JupyterChannel.Iopub)
            {
                Iopub.Enqueue(message);
            }
            else if (message.Channel == JupyterChannel.Shell)
            {
                _heldReplies.Enqueue(new HeldReply(message, Iopub.Queued, _options.TimeProvider.GetTimestamp()));
            }
            else
            {
                handedOver += SendReply(message);
            }
        }

        _taken.Clear();
        _spare = _taken;

        // Set before the last look at what libzmq holds: a release after that look then wakes us.
        Interlocked.Exchange(ref _watchesReleases, true);
        handedOver += Iopub.Publish() + SendHeldReplies(closing);
        if (!Iopub.IsBlocked)
        {
            Volatile.Write(ref _watchesReleases, false);
        }

        return handedOver;
    }

    /// <summary>Waits for something to do and takes what has come in; when <paramref name="closing"/> it only waits.</summary>
    internal void Receive(bool closing)
    {
        _poller.Watch(_iopubRoomIndex, Iopub.IsBlocked);
        _poller.Wait(Iopub.IsBlocked || closing ? BlockedTick : -1);
        if (_poller.IsReady(_wakeIndex))
        {
            _wake.Clear();
        }

        if (closing)
        {
            return;
        }

        if (_poller.IsReady(_iopubIndex) && Iopub.ReadSubscriptions())
        {
            _firstSubscriber.TrySetResult();
        }

        for (var i = 0; i < s_incoming.Length; i++)
        {
            if (_poller.IsReady(_incomingIndexes[i]))
            {
                ReceiveFrom(s_incoming[i]);
            }
        }
    }

    private void ReceiveFrom(JupyterChannel channel)
    {
        var socket = _sockets[channel];
        for (var i = 0; i < Burst; i++)
        {
            switch (socket.TryReceive(out var frames))
            {
                case ZeroMqReceived.Nothing:
                    return;
                case ZeroMqReceived.TooLarge:
                    Refuse(ref _malformed, channel, "it is over the size bound");
                    break;
                default:
                    Accept(channel, frames);
                    break;
            }
        }
    }

    private void Accept(JupyterChannel channel, ReadOnlyMemory<byte>[] frames)
    {
        if (!MessageFraming.TryRead(frames, out var message, out var signature, out var fault))
        {
            Refuse(ref _malformed, channel, fault);
        }
        else if (!_signer.Verify(message, signature.Span))
        {
            Refuse(ref _badSignatures, channel, "its signature is not that of this connection's key");
        }
        else if (message.MessageType.Length == 0)
        {
            Refuse(ref _malformed, channel, "its header has no msg_type");
        }
        else
        {
            try
            {
                _onMessage(channel, message);
            }
            catch (Exception e)
            {
                // One message that we can't cope with must not end the service of all others.
                Refuse(ref _handlerFaults, channel, $"its handling failed ({e.GetType().Name}: {e.Message})");
            }
        }
    }

    private long SendHeldReplies(bool all)
    {
        long handedOver = 0;
        while (_heldReplies.TryPeek(out var reply)
            && (all || Iopub.Sent >= reply.AfterOutput || _options.TimeProvider.GetElapsedTime(reply.QueuedAt) >= _options.ReplyWaitsForOutput))
        {
            _heldReplies.Dequeue();
            handedOver += SendReply(reply.Message);
        }

        return handedOver;
    }

    private long SendReply(in OutgoingMessage message)
    {
        // Without an identity there is nobody to route it to; libzmq would take the delimiter for one.
        if (message.Frames[0].Equals(MessageFraming.Delimiter))
        {
            Refuse(ref _repliesDropped, message.Channel, "it is a reply to nobody");
        }
        else if (!_routers[message.Channel].TrySend(message))
        {
            Refuse(ref _repliesDropped, message.Channel, "its client asks and does not read the replies");
        }

        return message.Cost;
    }

    // The first few are told, then every tenfold: a flood must not fill the log.
    private void Refuse(ref long counter, JupyterChannel channel, string why)
    {
        var count = Interlocked.Increment(ref counter);
        if (count <= 3 || IsPowerOfTen(count))
        {
            _log($"A message on {channel.ToString().ToLowerInvariant()} was dropped, the {count}. of its kind: {why}.");
        }
    }

    private static bool IsPowerOfTen(long count)
    {
        while (count % 10 == 0)
        {
            count /= 10;
        }

        return count == 1;
    }

    private readonly record struct HeldReply(OutgoingMessage Message, long AfterOutput, long QueuedAt);
}
