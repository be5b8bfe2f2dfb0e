using System.Buffers;
using System.Threading.Channels;
using InterpreterKernel.Protocol.Relay;

namespace InterpreterKernel.Kernel.Remote;

/// <summary>
/// What came from the relay: drops what came twice, puts pieces together, and holds items until the consumer takes them, urgent ones
/// first. A bulk frame is acknowledged when its message was taken, so that the relay's window bounds what is held here. One reader adds,
/// one consumer takes; the rest may be called from any thread.
/// </summary>
internal sealed class RelayLinkInbox(long limit)
{
    private readonly Lock _lock = new();
    private readonly Queue<Held> _bulk = new();
    private readonly Queue<Held> _urgent = new();
    private readonly Channel<bool> _available = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });
    private readonly RelayMessageAssembler _pieces = new();         // only the reader's
    private long _piecesSize;
    private long _held;
    private ulong _receivedBulk;
    private ulong _receivedUrgent;
    private bool _complete;
    private TaskCompletionSource? _room;

    /// <summary>The highest numbers received.</summary>
    public (ulong Bulk, ulong Urgent) Received
    {
        get
        {
            lock (_lock)
            {
                return (_receivedBulk, _receivedUrgent);
            }
        }
    }

    /// <summary>The highest numbers that may be acknowledged: up to the first message nobody took yet.</summary>
    public (ulong Bulk, ulong Urgent) Acknowledgeable
    {
        get
        {
            lock (_lock)
            {
                return (_bulk.TryPeek(out var first) ? first.Number - 1 : _receivedBulk, _receivedUrgent);
            }
        }
    }

    /// <summary>Takes a numbered frame in, copying its payload. False when a frame before it is missing.</summary>
    /// <exception cref="RelayProtocolException">It holds what no relay sends.</exception>
    public bool Add(in RelayFrame frame)
    {
        var received = frame.Lane == RelayLane.Bulk ? _receivedBulk : _receivedUrgent;
        if (frame.Number <= received)
        {
            return true;
        }

        if (frame.Number > received + 1)
        {
            return false;
        }

        var item = Decode(frame, out var size);
        lock (_lock)
        {
            if (frame.Lane == RelayLane.Bulk)
            {
                _receivedBulk = frame.Number;
            }
            else
            {
                _receivedUrgent = frame.Number;
            }

            if (item is not null)
            {
                _held += size;
                (frame.Lane == RelayLane.Bulk ? _bulk : _urgent).Enqueue(new Held(item, frame.Number, size));
                _available.Writer.TryWrite(true);
            }
        }

        return true;
    }

    /// <summary>Completes when there is room for more; the attachment is not read before.</summary>
    public Task WaitForRoomAsync()
    {
        lock (_lock)
        {
            if (_held < limit || _complete)
            {
                return Task.CompletedTask;
            }

            _room ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            return _room.Task;
        }
    }

    /// <summary>The next item, or null after the last one. One caller at a time.</summary>
    public async ValueTask<RelayItem?> TakeAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            lock (_lock)
            {
                if (_urgent.TryDequeue(out var taken) || _bulk.TryDequeue(out taken))
                {
                    _held -= taken.Size;
                    if (_held < limit)
                    {
                        _room?.TrySetResult();
                        _room = null;
                    }

                    return taken.Item;
                }

                if (_complete)
                {
                    return null;
                }
            }

            await _available.Reader.ReadAsync(cancellationToken);
        }
    }

    /// <summary>No more will come; what is held can still be taken.</summary>
    public void Complete()
    {
        lock (_lock)
        {
            if (!_complete)
            {
                _complete = true;
                _available.Writer.TryWrite(true);
                _room?.TrySetResult();
            }
        }
    }

    /// <summary>The item a frame completes; null for a piece of a message.</summary>
    private RelayItem? Decode(in RelayFrame frame, out int size)
    {
        size = (int)frame.Payload.Length;
        switch (frame.Kind)
        {
            case RelayFrameKind.BulkPart:
                AddPiece(frame.Payload);
                return null;
            case RelayFrameKind.Bulk when !_pieces.IsEmpty:
                AddPiece(frame.Payload);
                size = (int)_piecesSize;
                _piecesSize = 0;
                return new RelayItemMessage(_pieces.Complete());
            case RelayFrameKind.Bulk or RelayFrameKind.Urgent:
                var payload = GC.AllocateUninitializedArray<byte>(size);
                frame.Payload.CopyTo(payload);
                return new RelayItemMessage(RelayMessage.Decode(payload));
            case RelayFrameKind.Event when _pieces.IsEmpty:
            case RelayFrameKind.Notice:
                return new RelayItemEvent(RelayEvent.Decode(frame.Payload));
            default:
                throw new RelayProtocolException($"the relay sent a frame of kind {frame.Kind} where none may come");
        }
    }

    private void AddPiece(in ReadOnlySequence<byte> payload)
    {
        _pieces.Add(payload);
        _piecesSize += payload.Length;
    }

    private readonly record struct Held(RelayItem Item, ulong Number, int Size);
}
