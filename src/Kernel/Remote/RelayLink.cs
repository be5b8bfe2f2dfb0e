using System.Runtime.CompilerServices;
using System.Threading.Channels;
using InterpreterKernel.Protocol.Relay;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace InterpreterKernel.Kernel.Remote;

/// <summary>
/// The bridge's end of the link to the relay in the sandbox. It outlives its attachments: when one is cut it attaches again, and both
/// sides send what the other has not received, so that each message arrives once and in order, or the link ends with a reason.
/// <code>
///   Send ──► outbox ──► writer ──►┐              ┌── relay.py
///                                 │ attachment  ◄┤
///   ReadAllAsync ◄── inbox ◄── reader ◄──────────┘
/// </code>
/// Each attachment: (1) attach, (2) HELLO both ways, (3) reader, writer and watch until one of them ends, (4) lost: again from 1.
/// </summary>
internal sealed partial class RelayLink : IAsyncDisposable
{
    private const int AckFrames = 64;

    // A quarter of the relay's window: often enough that it never waits for one on a near line.
    private const int AckBytes = 1024 * 1024;
    private static readonly TimeSpan s_ackDelay = TimeSpan.FromMilliseconds(50);

    private readonly Func<CancellationToken, Task<IRelayAttachment>> _attach;
    private readonly RelayLinkOptions _options;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly RelayLinkOutbox _outbox;
    private readonly RelayLinkInbox _inbox;
    private readonly string _id = Guid.NewGuid().ToString();
    private readonly CancellationTokenSource _ending = new();
    private readonly Channel<bool> _wake = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });
    private readonly ITimer _ackTimer;
    private RelayLinkEnd? _end;
    private Task<RelayLinkEnd>? _running;
    private string? _instance;
    private volatile bool _readingPaused;

    // Until something was written the relay can have received nothing, so that the first frames go along with the first HELLO and save
    // a round trip. Later ones wait for the relay's.
    private bool _hasWritten;
    private bool _resuming;

    // How long the next attachment may take.
    private TimeSpan _attachPatience;

    // The last attach process was started, and ended before a relay spoke through it.
    private bool _endedUngreeted;

    // Acknowledging. The writer alone changes _acked.
    private (ulong Bulk, ulong Urgent) _acked;
    private long _bytesSinceAck;
    private int _ackTimerArmed;
    private volatile bool _ackDelayOver;

    // Signs of life, as timestamps of _time; 0 for a ping means none is on its way.
    private long _lastHeard;
    private long _lastAnswer;
    private long _pingSent;

    // How often they are looked for. The timer is that of the attachment there is.
    private readonly Lock _pace = new();
    private PeriodicTimer? _watch;
    private volatile bool _isResting;

    /// <summary>Makes a link that does nothing until <see cref="Start"/>.</summary>
    /// <param name="attach">Starts an attach process in the sandbox and returns its stdin and stdout.</param>
    /// <param name="options">How it behaves.</param>
    /// <param name="time">The clock.</param>
    /// <param name="logger">Where it tells what happens to the connection.</param>
    public RelayLink(Func<CancellationToken, Task<IRelayAttachment>> attach, RelayLinkOptions options, TimeProvider time, ILogger? logger = null)
    {
        _attach = attach;
        _options = options;
        _attachPatience = options.AttachTimeout;
        _time = time;
        _logger = logger ?? NullLogger.Instance;
        _outbox = new RelayLinkOutbox(options.SendWindow);
        _inbox = new RelayLinkInbox(options.ReceiveLimit);
        _ackTimer = time.CreateTimer(_ => OnAckDelayOver(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        Connection = new RelayConnection(false, time.GetUtcNow(), null);
    }

    /// <summary>Raised when the relay was reached and when it was lost, not for each attempt; from the link's own loop: return soon.</summary>
    public event Action<RelayConnection>? ConnectionChanged;

    /// <summary>Whether the relay can be reached, and since when.</summary>
    public RelayConnection Connection { get; private set; }

    /// <summary>What the relay said of itself and the kernel at the last attachment.</summary>
    public RelayHello? LastHello { get; private set; }

    /// <summary>Done when the link has ended, with the first reason; nothing runs any more then.</summary>
    public Task<RelayLinkEnd> Completion => _running ?? throw new InvalidOperationException("the link was not started");

    /// <summary>Begins to attach.</summary>
    public void Start() => _running ??= Task.Run(RunAsync);

    /// <summary>Sends a message to the kernel. Never waits; while the relay is away it is kept.</summary>
    public void Send(RelayChannel channel, IReadOnlyList<ReadOnlyMemory<byte>> frames)
    {
        _outbox.Send(channel, frames);
        Rouse();
        Wake();
    }

    /// <summary>Sends a command to the relay, overtaking messages. Never waits.</summary>
    public void SendCommand(RelayCommand command)
    {
        _outbox.Send(command);
        Rouse();
        Wake();
    }

    /// <summary>Nothing is awaited from the relay: the connection is looked after less often, until something is sent again.</summary>
    public void Rest()
    {
        lock (_pace)
        {
            _isResting = true;
            SetPace_NeedsLock();
        }
    }

    /// <summary>
    /// All that comes from the relay, urgent items first, until the link has ended and everything received was taken. For one consumer.
    /// When it does not take, the relay is not acknowledged and keeps the rest in the sandbox.
    /// </summary>
    public async IAsyncEnumerable<RelayItem> ReadAllAsync([EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        while (await _inbox.TakeAsync(cancellationToken) is { } item)
        {
            AcknowledgeSoon();
            yield return item;
        }
    }

    /// <summary>Ends the link for a reason the owner knows, such as that the sandbox is gone. The first reason stays.</summary>
    public void End(string message, Exception? cause = null) => End(new RelayLinkEnd(RelayLinkEndReason.Ended, message, cause));

    /// <summary>Ends the link, if nothing else did, and waits until nothing of it runs.</summary>
    public async ValueTask DisposeAsync()
    {
        End(new RelayLinkEnd(RelayLinkEndReason.Closed, "the link was closed"));
        if (_running is not null)
        {
            await _running;
        }

        await _ackTimer.DisposeAsync();
        _inbox.Complete();
        _ending.Dispose();
    }

    private void End(RelayLinkEnd end)
    {
        if (Interlocked.CompareExchange(ref _end, end, null) is null)
        {
            LogEnded(end.Reason, end.Message);
            _ending.Cancel();
        }
    }

    private async Task<RelayLinkEnd> RunAsync()
    {
        try
        {
            long? noRelaySince = null;
            var refusals = 0;
            for (var attempt = 0; !_ending.IsCancellationRequested; attempt++)
            {
                await Task.Delay(RetryDelay(attempt), _time, _ending.Token);
                var before = _inbox.Received;
                string reason;
                try
                {
                    reason = await ServeOneAttachmentAsync();
                    refusals = 0;
                }
                catch (Exception e) when (!_ending.IsCancellationRequested && e is not RelayProtocolException)
                {
                    refusals = _options.IsFinal(e) ? refusals + 1 : 0;
                    if (refusals >= _options.FinalAfter)
                    {
                        throw;
                    }

                    reason = e.Message;
                }

                noRelaySince = _endedUngreeted ? noRelaySince ?? _time.GetTimestamp() : null;

                if (noRelaySince is { } since && _time.GetElapsedTime(since) >= _options.RelayGoneAfter)
                {
                    End(new RelayLinkEnd(RelayLinkEndReason.RelayGone, $"for {_options.RelayGoneAfter.TotalSeconds:0} s no relay could be found or started in it ({reason})"));
                }

                // The wait grows only while nothing gets through.
                attempt = _inbox.Received != before ? 0 : attempt;
                Report(new RelayConnection(false, _time.GetUtcNow(), reason));
            }
        }
        catch (OperationCanceledException) when (_ending.IsCancellationRequested)
        {
            LogStopped();
        }
        catch (RelayProtocolException e)
        {
            End(new RelayLinkEnd(RelayLinkEndReason.ProtocolViolated, "the relay in the sandbox sent " + e.Message, e));
        }
        catch (Exception e) when (_options.IsFinal(e))
        {
            End(new RelayLinkEnd(RelayLinkEndReason.AttachFailed, e.Message, e));
        }
        catch (Exception e)
        {
            End(new RelayLinkEnd(RelayLinkEndReason.Faulted, "a fault in the link to the sandbox: " + e.Message, e));
        }

        _inbox.Complete();
        return _end!;
    }

    /// <summary>The first retry comes at once: most cuts are over when they are noticed.</summary>
    private TimeSpan RetryDelay(int attempt)
    {
        if (attempt < 2)
        {
            return TimeSpan.Zero;
        }

        var delay = _options.FirstRetry * Math.Pow(2, Math.Min(attempt - 2, 16));
        return delay < _options.LongestRetry ? delay : _options.LongestRetry;
    }

    /// <summary>Steps 1 to 3; returns or throws what ended the attachment.</summary>
    private async Task<string> ServeOneAttachmentAsync()
    {
        _endedUngreeted = false;
        using var over = CancellationTokenSource.CreateLinkedTokenSource(_ending.Token);
        using var late = new CancellationTokenSource(_attachPatience, _time);
        using var attaching = CancellationTokenSource.CreateLinkedTokenSource(_ending.Token, late.Token);
        IRelayAttachment attachment;
        try
        {
            attachment = await _attach(attaching.Token);                                            // 1
        }
        catch (OperationCanceledException) when (late.IsCancellationRequested)
        {
            throw new AttachmentLostException(AttachTookTooLong("attaching to the relay"));
        }

        late.CancelAfter(Timeout.InfiniteTimeSpan);     // whoever kept the token for the life of the stream shall not be cancelled

        _resuming = _hasWritten;
        var greeted = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        Task<string>[] loops =
        [
            ReadAsync(attachment, greeted, over.Token),
            WriteAsync(attachment, greeted.Task, over.Token),
            WatchAsync(greeted.Task, over.Token),
        ];
        var first = await Task.WhenAny(loops);                                                      // 3
        _endedUngreeted = !greeted.Task.IsCompleted && first != loops[^1];
        await over.CancelAsync();
        await attachment.DisposeAsync();
        await ((Task)Task.WhenAll(loops)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);   // only the first one's end matters
        return await first;
    }

    private string AttachTookTooLong(string what)
    {
        var took = _attachPatience;
        _attachPatience = took * 2 < _options.LongestAttachTimeout ? took * 2 : _options.LongestAttachTimeout;
        return $"{what} took more than {took.TotalSeconds:0.#} s";
    }

    private async Task<string> ReadAsync(IRelayAttachment attachment, TaskCompletionSource greeted, CancellationToken over)
    {
        var frames = new RelayLinkFrames();
        while (true)
        {
            var room = _inbox.WaitForRoomAsync();
            _readingPaused = !room.IsCompleted;
            await room.WaitAsync(over);
            _readingPaused = false;
            var count = await attachment.ReadAsync(frames.Room(), over);
            Volatile.Write(ref _lastHeard, _time.GetTimestamp());
            if (count == 0)
            {
                return "the attach process in the sandbox ended";
            }

            frames.Add(count);
            while (TryReadFrame(frames, out var frame))
            {
                OnFrame(frame, greeted);
                frames.IsChecked = attachment.NeedsChecksums || LastHello!.IsChecked;
            }

            AcknowledgeSoon();
        }
    }

    /// <summary>Bytes that are no frames say something about this attachment, not about the relay: another one may do.</summary>
    private static bool TryReadFrame(RelayLinkFrames frames, out RelayFrame frame)
    {
        try
        {
            return frames.TryRead(out frame);
        }
        catch (RelayProtocolException e)
        {
            throw new AttachmentLostException("the connection was damaged: " + e.Message);
        }
    }

    private void OnFrame(in RelayFrame frame, TaskCompletionSource greeted)
    {
        if ((frame.Kind == RelayFrameKind.Hello) == greeted.Task.IsCompleted)
        {
            throw new RelayProtocolException($"a frame of kind {frame.Kind} {(greeted.Task.IsCompleted ? "after" : "before")} its HELLO");
        }

        switch (frame.Kind)
        {
            case RelayFrameKind.Hello:
                OnHello(RelayHello.Decode(frame.Payload));                                          // 2
                greeted.SetResult();
                break;
            case RelayFrameKind.Ack:
                var (bulk, urgent) = RelayCodec.ReadAck(frame.Payload);
                _outbox.Acknowledge(bulk, urgent);
                Volatile.Write(ref _lastAnswer, _time.GetTimestamp());
                Wake();
                break;
            case RelayFrameKind.Ping:
                _outbox.Answer(RelayCodec.Encode(RelayFrameKind.Pong, 0, []));
                Wake();
                break;
            case RelayFrameKind.Pong:
                Volatile.Write(ref _pingSent, 0);
                Volatile.Write(ref _lastAnswer, _time.GetTimestamp());
                break;
            default:
                Interlocked.Add(ref _bytesSinceAck, frame.Payload.Length);
                if (!_inbox.Add(frame))
                {
                    throw new AttachmentLostException($"frame {frame.Number} of the {frame.Lane} lane came, and one before it did not");
                }

                break;
        }
    }

    private void OnHello(RelayHello hello)
    {
        if (hello.Link != _id)
        {
            throw new AttachmentLostException("the relay greeted another kernel");
        }

        if (_instance is not null && hello.Instance != _instance)
        {
            var end = new RelayLinkEnd(RelayLinkEndReason.RelayReplaced, "the relay in the sandbox was killed, and the kernel with it; its variables are lost");
            End(end);
            throw new AttachmentLostException(end.Message);
        }

        _instance = hello.Instance;
        _attachPatience = _options.AttachTimeout;
        if (_resuming)
        {
            _outbox.Resume(hello.ReceivedBulk, hello.ReceivedUrgent);
        }

        var now = _time.GetTimestamp();
        Volatile.Write(ref _lastAnswer, now);
        Volatile.Write(ref _pingSent, 0);
        LastHello = hello;
        Report(new RelayConnection(true, _time.GetUtcNow(), null));
    }

    private async Task<string> WriteAsync(IRelayAttachment attachment, Task greeted, CancellationToken over)
    {
        var received = _inbox.Received;
        await attachment.WriteAsync(new RelayHello(_id, received.Bulk, received.Urgent) { IsChecked = attachment.NeedsChecksums }.Encode(), over);
        if (_resuming)
        {
            await greeted.WaitAsync(over);      // only then it is known what has to go again
        }

        _acked = default;                       // the last ACK may have been lost with the last attachment
        while (true)
        {
            var batch = _outbox.NextBatch(TakeAck());
            if (batch.IsEmpty)
            {
                await _wake.Reader.ReadAsync(over);
                continue;
            }

            _hasWritten = true;
            await attachment.WriteAsync(batch, over);
        }
    }
}
