using System.Buffers;
using InterpreterKernel.Protocol.Relay;

namespace InterpreterKernel.Kernel.Remote;

/// <summary>
/// What goes to the relay: two lanes of numbered frames, each kept until it is acknowledged, and the unnumbered answers before them. All
/// members may be called from any thread.
/// </summary>
internal sealed class RelayLinkOutbox(long window)
{
    private const int BatchSize = 64 * 1024;

    private readonly Lock _lock = new();
    private readonly Lane _bulk = new();
    private readonly Lane _urgent = new();
    private readonly Queue<byte[]> _answers = new();
    private readonly ArrayBufferWriter<byte> _batch = new(BatchSize);

    // Number of the last bulk frame that carried a control message too large for the urgent lane. Until it has arrived, later control
    // messages go behind it, so that they keep their order.
    private ulong _largeControl;

    /// <summary>Queues a message in the lane its channel and size call for.</summary>
    public void Send(RelayChannel channel, IReadOnlyList<ReadOnlyMemory<byte>> frames)
    {
        var pieces = RelayMessage.Encode(channel, frames);
        var mayOvertake = channel is RelayChannel.Control or RelayChannel.Stdin or RelayChannel.Interrupt && pieces.Length == 1;
        lock (_lock)
        {
            if (mayOvertake && (channel != RelayChannel.Control || _bulk.Acknowledged >= _largeControl))
            {
                _urgent.Add(RelayFrameKind.Urgent, pieces[0]);
                return;
            }

            for (var i = 0; i < pieces.Length; i++)
            {
                _bulk.Add(i == pieces.Length - 1 ? RelayFrameKind.Bulk : RelayFrameKind.BulkPart, pieces[i]);
            }

            if (channel == RelayChannel.Control)
            {
                _largeControl = _bulk.Last;
            }
        }
    }

    /// <summary>Queues a command in the urgent lane.</summary>
    public void Send(RelayCommand command)
    {
        lock (_lock)
        {
            var payload = command.Encode(_bulk.Last);
            var frame = RelayCodec.Allocate(payload.Length);
            payload.Span.CopyTo(frame.AsSpan(RelayCodec.HeaderLength));
            _urgent.Add(RelayFrameKind.Command, frame);
        }
    }

    /// <summary>Queues an unnumbered frame for this attachment only.</summary>
    public void Answer(byte[] frame)
    {
        lock (_lock)
        {
            // A peer that asks without ever reading gets its answers dropped, not our memory.
            if (_answers.Count < 64)
            {
                _answers.Enqueue(frame);
            }
        }
    }

    /// <summary>A new attachment: everything the relay has not received is to be sent again, and the answers of the old one are void.</summary>
    /// <exception cref="RelayProtocolException">The relay can't have received that.</exception>
    public void Resume(ulong bulk, ulong urgent)
    {
        lock (_lock)
        {
            _answers.Clear();
            _bulk.Resume(bulk);
            _urgent.Resume(urgent);
        }
    }

    /// <summary>Forgets what the relay has received.</summary>
    /// <exception cref="RelayProtocolException">It was never sent.</exception>
    public void Acknowledge(ulong bulk, ulong urgent)
    {
        lock (_lock)
        {
            _bulk.Acknowledge(bulk);
            _urgent.Acknowledge(urgent);
        }
    }

    /// <summary>Whether <see cref="NextBatch"/> has something of its own to write.</summary>
    public bool HasWork
    {
        get
        {
            lock (_lock)
            {
                return _answers.Count > 0 || _urgent.HasUnsent || (_bulk.HasUnsent && _bulk.InFlight < window);
            }
        }
    }

    /// <summary>Whether something was sent of which the relay has not said that it came.</summary>
    public bool IsAwaitingAck
    {
        get
        {
            lock (_lock)
            {
                return _bulk.InFlight + _urgent.InFlight > 0;
            }
        }
    }

    /// <summary>
    /// The next bytes to write, in whole frames: <paramref name="ack"/>, answers, urgent, bulk. Only what is queued already goes together,
    /// so nothing waits for company. Valid until the next call; empty when there is nothing, or the window is full.
    /// </summary>
    public ReadOnlyMemory<byte> NextBatch(ReadOnlySpan<byte> ack)
    {
        lock (_lock)
        {
            _batch.ResetWrittenCount();
            _batch.Write(ack);
            while (_batch.WrittenCount < BatchSize && TryTake(out var frame))
            {
                // A frame that fills a batch by itself is written from where it is kept.
                if (_batch.WrittenCount == 0 && frame.Length >= BatchSize)
                {
                    return frame;
                }

                _batch.Write(frame);
            }

            return _batch.WrittenMemory;
        }
    }

    private bool TryTake(out byte[] frame) =>
        _answers.TryDequeue(out frame!) || _urgent.TryTake(out frame) || (_bulk.InFlight < window && _bulk.TryTake(out frame));

    /// <summary>Frames of one lane: sent and not acknowledged, then not sent yet.</summary>
    private sealed class Lane
    {
        private readonly LinkedList<byte[]> _kept = new();
        private LinkedListNode<byte[]>? _next;
        private ulong _nextNumber = 1;

        public ulong Last { get; private set; }

        public ulong Acknowledged { get; private set; }

        public long InFlight { get; private set; }

        public bool HasUnsent => _next is not null;

        public void Add(RelayFrameKind kind, byte[] frame)
        {
            RelayCodec.Seal(frame, kind, ++Last);
            var node = _kept.AddLast(frame);
            _next ??= node;
        }

        public bool TryTake(out byte[] frame)
        {
            if (_next is null)
            {
                frame = [];
                return false;
            }

            frame = _next.Value;
            InFlight += frame.Length;
            _next = _next.Next;
            _nextNumber++;
            return true;
        }

        public void Acknowledge(ulong number)
        {
            if (number > Last)
            {
                throw new RelayProtocolException($"frame {number} acknowledged, of {Last}");
            }

            for (; Acknowledged < number; Acknowledged++)
            {
                if (_nextNumber == Acknowledged + 1)
                {
                    _next = _kept.First!.Next;
                    _nextNumber++;
                }
                else
                {
                    InFlight -= _kept.First!.Value.Length;
                }

                _kept.RemoveFirst();
            }
        }

        public void Resume(ulong received)
        {
            if (received < Acknowledged)
            {
                throw new RelayProtocolException($"frame {received} said to be the last received, though {Acknowledged} was acknowledged");
            }

            // The relay forwards what it receives at once, so that received and acknowledged mean the same here.
            Acknowledge(received);
            _next = _kept.First;
            _nextNumber = Acknowledged + 1;
            InFlight = 0;
        }
    }
}
