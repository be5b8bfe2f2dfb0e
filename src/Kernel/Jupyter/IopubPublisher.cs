using InterpreterKernel.Protocol.ZeroMq;

namespace InterpreterKernel.Kernel.Jupyter;

/// <summary>
/// Publishes on iopub without silent loss. Used by the socket thread only, except where noted.
/// <code>
///   (1) normal     a full client refuses the message (ZMQ_XPUB_NODROP): it waits in the spool, and all wait with it
///   (2) stuck      nothing was read for StuckAfter while somebody else waits for more (or the spool is over its
///                  bound): what libzmq holds is written off and NODROP goes off; libzmq then loses messages for
///                  the full client only, and each one is counted
///   (3) the others  get at most a window of messages at a time, less than a drained queue has room for, so that
///                  they lose nothing while NODROP is off
///   (4) recovered  the stuck client has read, or left, what was written off: NODROP goes on again
/// </code>
/// Every message is tracked until libzmq lets go of it, so "reads nothing" is seen and not guessed.
/// </summary>
internal sealed class IopubPublisher
{
    // libzmq tells us of reads in steps of half the mark: a drained queue still seems to hold up to 127 messages.
    private const int LossyWindow = (BoundSockets.IopubHighWaterMark / 2) - 28;

    // A message of this size is worth a collection once it has left, one that gives the memory back to the system. Left alone,
    // the collector lets several of its size gather: the process of one notebook grew to half a gigabyte and stayed there.
    private const long Large = 16L << 20;

    private static readonly TimeSpan s_askAgain = TimeSpan.FromSeconds(1);

    private readonly ZeroMqSocket _socket;
    private readonly WaitingSubscribers _waiting;
    private readonly JupyterSocketsOptions _options;
    private readonly Action _released;
    private readonly Action<string> _log;
    private readonly Queue<OutgoingMessage> _spool = new();
    private readonly List<HeldMessages> _writtenOff = [];
    private HeldMessages _inFlight;
    private long _spoolBytes;
    private long? _largeAt;
    private int _subscriptions;
    private bool _lossy;
    private int _window;
    private bool _mayLose;
    private bool _blocked;
    private long _stalledSince;
    private long _heldAtStall;
    private long _askedWaiting;
    private long _dropped;
    private long _droppedBefore;

    internal IopubPublisher(ZeroMqSocket socket, WaitingSubscribers waiting, JupyterSocketsOptions options, Action released, Action<string> log)
    {
        _socket = socket;
        _waiting = waiting;
        _options = options;
        _released = released;
        _log = log;
        _inFlight = new HeldMessages(released);
    }

    /// <summary>Messages handed to libzmq so far.</summary>
    internal long Sent { get; private set; }

    /// <summary>Messages taken so far.</summary>
    internal long Queued { get; private set; }

    /// <summary>Whether something waits in the spool for a client to read.</summary>
    internal bool IsBlocked => _blocked;

    /// <summary>Bytes that libzmq holds for clients that do read. Any thread.</summary>
    internal long InFlightBytes => Volatile.Read(ref _inFlight).Bytes;

    /// <summary>Whether all output has left, written-off messages aside.</summary>
    internal bool IsDrained => _spool.Count == 0 && _inFlight.Count == 0;

    /// <summary>Messages that a stuck client may have missed. Any thread.</summary>
    internal long Dropped => Volatile.Read(ref _dropped);

    internal void Enqueue(in OutgoingMessage message)
    {
        _spool.Enqueue(message);
        _spoolBytes += message.Cost;
        Queued++;
    }

    /// <summary>Hands over what may go now; the result is its cost.</summary>
    internal long Publish()
    {
        long handedOver = 0;
        LeaveLossyWhenRecovered();
        while (_spool.TryPeek(out var message))
        {
            if (MaySend() && _socket.TrySend(message.Frames, _inFlight, message.Cost))
            {
                _spool.Dequeue();
                _spoolBytes -= message.Cost;
                handedOver += message.Cost;
                Sent++;
                _blocked = false;
                _largeAt = message.Cost >= Large ? Sent : _largeAt;
                if (_lossy)
                {
                    _window--;
                    Interlocked.Increment(ref _dropped);
                }
            }
            else if (!WriteOffWhenStuck())
            {
                return handedOver;
            }
        }

        // Nothing is left to send, but what libzmq holds may keep the senders waiting for room.
        if (_inFlight.Bytes < _options.RoomBytes || WriteOffWhenStuck())
        {
            _blocked = false;
        }

        // Not before another message came: whoever brought the large one may hold it until then.
        if (Sent > _largeAt && _inFlight.Bytes < Large)
        {
            _largeAt = null;
            GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        }

        return handedOver;
    }

    /// <summary>Takes the subscriptions that have come; true when there is at least one new one.</summary>
    internal bool ReadSubscriptions()
    {
        var any = false;
        while (_socket.TryReceive(out var frames) is var received && received != ZeroMqReceived.Nothing)
        {
            // One frame: 1 or 0, then the topic. Anything else is not a subscription and means nothing here.
            var first = received == ZeroMqReceived.Message && frames is [{ Length: > 0 } frame] ? frame.Span[0] : (byte)0xff;
            if (first == 1)
            {
                _subscriptions++;
                any = true;
            }
            else if (first == 0)
            {
                _subscriptions = Math.Max(0, _subscriptions - 1);
            }
        }

        return any;
    }

    private bool MaySend() => _inFlight.Bytes < _options.RoomBytes && (!_lossy || (HasWindow() && MayLose()));

    private bool HasWindow()
    {
        if (_window > 0)
        {
            return true;
        }

        // First what has left, then the news of it: without NODROP the socket would take a queue that it has not heard
        // from for full, and libzmq looks at its news on sending only now and then. Reading this option makes it look.
        _window = LossyWindow - (int)_inFlight.Count;
        _socket.Get(ZeroMqOption.Events);
        return _window > 0;
    }

    // True: something was written off, try again.
    private bool WriteOffWhenStuck()
    {
        var clock = _options.TimeProvider;
        var held = _inFlight.Count;
        if (!_blocked || held < _heldAtStall)
        {
            // It just began, or somebody did read: slow is not stuck.
            _blocked = true;
            _heldAtStall = held;
            _stalledSince = clock.GetTimestamp();
            _askedWaiting = 0;
            return false;
        }

        if (clock.GetElapsedTime(_stalledSince) < _options.StuckAfter || held == 0 || !MayLose())
        {
            return false;
        }

        _writtenOff.Add(_inFlight);
        Volatile.Write(ref _inFlight, new HeldMessages(_released));
        _blocked = false;
        _window = 0;
        if (!_lossy)
        {
            _lossy = true;
            _droppedBefore = Dropped;
            _socket.Set(ZeroMqOption.XPubNoDrop, 0);
            _log($"A client has read no output for {_options.StuckAfter.TotalSeconds:0.#} s. It misses output until it reads again, so that the other clients get theirs.");
        }

        return true;
    }

    private bool MayLose()
    {
        if (_spoolBytes > _options.IopubSpoolBytes)
        {
            return true;
        }

        // At most once a second, but never an answer from before the stall that is to be judged.
        var clock = _options.TimeProvider;
        if (_askedWaiting == 0 || clock.GetElapsedTime(_askedWaiting) >= s_askAgain)
        {
            _askedWaiting = clock.GetTimestamp();
            _mayLose = _waiting.Any(_subscriptions);
        }

        return _mayLose;
    }

    private void LeaveLossyWhenRecovered()
    {
        if (_lossy && _writtenOff.RemoveAll(f => f.Count == 0) > 0 && _writtenOff.Count == 0)
        {
            _lossy = false;
            _socket.Set(ZeroMqOption.XPubNoDrop, 1);
            _log($"The stuck client reads again, or has gone; it may have missed {Dropped - _droppedBefore} messages.");
        }
    }
}
