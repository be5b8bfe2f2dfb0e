using InterpreterKernel.Protocol.Jupyter;
using InterpreterKernel.Protocol.ZeroMq;

namespace InterpreterKernel.Kernel.Jupyter;

/// <summary>
/// The kernel's side of a connection file: five bound sockets, owned by one thread (the heartbeat by another).
/// <code>
///   any thread ── Send: sign, queue, wake ──►┐                       ┌──► shell, control, stdin (ROUTER)
///                                            │  socket thread        ├──► iopub (XPUB, see IopubPublisher)
///   onMessage ◄── verify ◄── frames ◄────────┘  one zmq_poll a round └◄── requests, control first
/// </code>
/// A message's memory belongs to the sockets once it was sent. Order is kept per channel, and a shell reply waits for the
/// output that was sent before it.
/// </summary>
internal sealed class JupyterSockets : IClients, IAsyncDisposable
{
    private readonly JupyterSocketsOptions _options;
    private readonly MessageSigner _signer;
    private readonly WakeSignal _wake = new();
    private readonly HeartbeatEcho _heartbeat;
    private readonly SocketLoop _loop;
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock _gate = new();
    private readonly List<Waiter> _waiters = [];
    private List<OutgoingMessage> _queue = [];
    private long _queuedBytes;
    private int _waiting;
    private int _threadId;
    private bool _closing;
    private bool _closed;

    private JupyterSockets(
        BoundSockets sockets, ConnectionFile file, JupyterSocketsOptions options, Action<JupyterChannel, JupyterMessage> onMessage, Action<string> log)
    {
        _options = options;
        _signer = MessageSigner.For(file);
        _heartbeat = new HeartbeatEcho(sockets[JupyterChannel.Heartbeat], log);
        _loop = new SocketLoop(sockets, new WaitingSubscribers(file), _signer, options, _wake, OnReleased, onMessage, log);
        new Thread(() => Run(sockets, log)) { IsBackground = true, Name = "jupyter sockets" }.Start();
    }

    /// <summary>Done when a client has subscribed to iopub: what is published before that, nobody hears.</summary>
    public Task FirstSubscriber => _loop.FirstSubscriber;

    /// <summary>Done when the sockets are closed; failed when they broke, after which no client can be served.</summary>
    public Task Completion => _ended.Task;

    /// <summary>What was thrown away so far.</summary>
    public JupyterSocketsCounters Counters => _loop.Counters;

    /// <summary>Bytes sent by us that libzmq has not taken yet.</summary>
    internal long QueuedBytes => Volatile.Read(ref _queuedBytes);

    private bool HasRoom => Volatile.Read(ref _queuedBytes) + _loop.Iopub.InFlightBytes < _options.RoomBytes || Volatile.Read(ref _closed);

    /// <summary>
    /// Binds all five sockets and starts to serve them. <paramref name="onMessage"/> is called on the socket thread, with
    /// verified messages only; it must be quick and may call <see cref="Send"/>.
    /// </summary>
    /// <exception cref="JupyterBindException">A socket can't be bound; none is then.</exception>
    /// <exception cref="ZeroMqException">libzmq is missing, or can't encrypt.</exception>
    public static JupyterSockets Bind(
        ConnectionFile file, JupyterSocketsOptions options, Action<JupyterChannel, JupyterMessage> onMessage, Action<string>? log = null)
    {
        ArgumentNullException.ThrowIfNull(file);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(onMessage);
        return new JupyterSockets(BoundSockets.Bind(file, options), file, options, onMessage, log ?? (_ => { }));
    }

    /// <summary>Signs and queues a message; never blocks. After the end of the sockets it does nothing.</summary>
    public void Send(JupyterChannel channel, JupyterMessage message)
    {
        ArgumentNullException.ThrowIfNull(message);
        ArgumentOutOfRangeException.ThrowIfEqual((int)channel, (int)JupyterChannel.Heartbeat, nameof(channel));
        var outgoing = OutgoingMessage.Of(channel, message, _signer);
        lock (_gate)
        {
            if (_closing)
            {
                return;
            }

            _queue.Add(outgoing);
            Interlocked.Add(ref _queuedBytes, outgoing.Cost);
            Wake_NeedsLock();
        }
    }

    /// <summary>
    /// Done when less than <see cref="JupyterSocketsOptions.RoomBytes"/> wait to leave. Whoever sends much awaits this
    /// first; then a client that does not read holds up its sender and not our memory.
    /// </summary>
    public ValueTask WaitForRoomAsync(CancellationToken cancellationToken)
        => HasRoom ? ValueTask.CompletedTask : new ValueTask(WaitUntil(() => HasRoom).WaitAsync(cancellationToken));

    /// <summary>Waits until everything sent so far has left this process; false when that took longer than <paramref name="limit"/>.</summary>
    public async ValueTask<bool> FlushAsync(TimeSpan limit)
    {
        try
        {
            await WaitUntil(() => Volatile.Read(ref _queuedBytes) == 0 && _loop.IsDrained).WaitAsync(limit, _options.TimeProvider);
            return true;
        }
        catch (TimeoutException)
        {
            return false;
        }
    }

    /// <summary>Sends what can still be sent within <see cref="JupyterSocketsOptions.Linger"/>, closes all, and removes ipc files.</summary>
    public async ValueTask DisposeAsync()
    {
        lock (_gate)
        {
            _closing = true;
            Wake_NeedsLock();
        }

        await _ended.Task.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    private void Run(BoundSockets sockets, Action<string> log)
    {
        Volatile.Write(ref _threadId, Environment.CurrentManagedThreadId);
        Exception? failure = null;
        long? deadline = null;
        try
        {
            while (true)
            {
                var closing = TakeQueue();
                var handedOver = _loop.Send(closing);
                if (handedOver != 0)
                {
                    Interlocked.Add(ref _queuedBytes, -handedOver);
                }

                CompleteWaiters(all: false);
                if (closing)
                {
                    deadline ??= _options.TimeProvider.GetTimestamp();
                    if (Volatile.Read(ref _queuedBytes) == 0 || _options.TimeProvider.GetElapsedTime(deadline.Value) >= _options.Linger)
                    {
                        break;
                    }
                }

                _loop.Receive(closing);
            }
        }
        catch (Exception e)
        {
            failure = e;
            log($"The Jupyter sockets broke: {e.Message} No client can be served any more; restart the kernel.");
        }

        lock (_gate)
        {
            // Also when it broke: nothing would ever take what is queued from now on.
            _closing = true;
        }

        Close(sockets, failure, deadline, log);
    }

    private void Close(BoundSockets sockets, Exception? failure, long? deadline, Action<string> log)
    {
        try
        {
            if (Volatile.Read(ref _queuedBytes) is var left and > 0)
            {
                log($"{left} bytes of output were not read by any client in time and are lost.");
            }

            var used = deadline is { } since ? _options.TimeProvider.GetElapsedTime(since) : TimeSpan.Zero;
            _heartbeat.Dispose();
            sockets.Close(used < _options.Linger ? _options.Linger - used : TimeSpan.Zero);
            _signer.Dispose();
        }
        catch (Exception e)
        {
            failure ??= e;
        }

        lock (_gate)
        {
            _closed = true;
            _wake.Dispose();
        }

        CompleteWaiters(all: true);
        if (failure is null)
        {
            _ended.SetResult();
        }
        else
        {
            _ended.SetException(failure);
        }
    }

    // True once closing was asked for: the queue then only shrinks.
    private bool TakeQueue()
    {
        lock (_gate)
        {
            _queue = _loop.Take(_queue);
            return _closing;
        }
    }

    private void Wake_NeedsLock()
    {
        // The loop sends before it waits, so what its own handlers send needs no system call.
        if (!_closed && Environment.CurrentManagedThreadId != Volatile.Read(ref _threadId))
        {
            _wake.Raise();
        }
    }

    // Called on libzmq's thread for each message that has left, for the last time while the sockets close.
    private void OnReleased()
    {
        if (Volatile.Read(ref _waiting) > 0 || _loop.WatchesReleases)
        {
            _wake.Raise();
        }
    }

    private Task WaitUntil(Func<bool> met)
    {
        var waiter = new Waiter(met, new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously));
        lock (_gate)
        {
            if (_closed)
            {
                return Task.CompletedTask;
            }

            _waiters.Add(waiter);
            Interlocked.Increment(ref _waiting);
            Wake_NeedsLock();
        }

        return waiter.Done.Task;
    }

    private void CompleteWaiters(bool all)
    {
        if (Volatile.Read(ref _waiting) == 0)
        {
            return;
        }

        lock (_gate)
        {
            Interlocked.Add(ref _waiting, -_waiters.RemoveAll(w => (all || w.Met()) && w.Done.TrySetResult()));
        }
    }

    private sealed record Waiter(Func<bool> Met, TaskCompletionSource Done);
}
