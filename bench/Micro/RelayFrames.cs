using System.Buffers;
using BenchmarkDotNet.Attributes;
using InterpreterKernel.Protocol.Relay;

namespace InterpreterKernel.Micro;

/// <summary>The link to the relay: a message into frames and back, the checksum alone, an acknowledgement.</summary>
public class RelayFrames
{
    private ReadOnlyMemory<byte>[] _message = [];
    private byte[] _frame = [];
    private byte[] _payload = [];

    /// <summary>Bytes of the message's content: a result, a full frame.</summary>
    [Params(200, 255 * 1024)]
    public int Content { get; set; }

    [GlobalSetup]
    public void Prepare()
    {
        _message = ["stream"u8.ToArray(), "<IDS|MSG>"u8.ToArray(), Array.Empty<byte>(), new byte[200], new byte[200], "{}"u8.ToArray(), new byte[Content]];
        Random.Shared.NextBytes(_message[^1].ToArray());
        _frame = Encode();
        _payload = _frame[RelayCodec.HeaderLength..^4];
    }

    [Benchmark]
    public byte[] Encode()
    {
        var frame = RelayMessage.Encode(RelayChannel.IOPub, _message)[0];
        RelayCodec.Seal(frame, RelayFrameKind.Bulk, 1);
        return frame;
    }

    [Benchmark]
    public RelayMessage Decode()
    {
        var buffer = new ReadOnlySequence<byte>(_frame);
        RelayCodec.TryRead(ref buffer, out var frame);
        return RelayMessage.Decode(frame.Payload.ToArray());
    }

    [Benchmark]
    public uint Checksum() => RelayChecksum.Of(_payload);

    [Benchmark]
    public byte[] Acknowledge() => RelayCodec.EncodeAck(1_000, 10);
}
