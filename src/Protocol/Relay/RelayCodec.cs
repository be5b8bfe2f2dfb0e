using System.Buffers;
using System.Buffers.Binary;

namespace InterpreterKernel.Protocol.Relay;

/// <summary>
/// The bytes of relay frames (docs/relay-protocol.md has the table):
/// <code>
/// bytes 0..3    length of what follows, big-endian
/// byte  4       kind
/// bytes 5..12   number in its lane, big-endian; 0 where the kind is not numbered
/// bytes 13..    payload
/// last 4 bytes  CRC-32 of everything before it
/// </code>
/// Frames may be cut and joined anywhere on the way. The checksum is there because the way may be plain HTTP through
/// somebody's proxy: a wrong byte must cost a reconnect, after which the frame comes again, and never a wrong output. On a socket
/// between the two it is not looked at.
/// </summary>
public static class RelayCodec
{
    /// <summary>The largest payload of one frame (1 MiB).</summary>
    public const int MaxPayload = 1024 * 1024;

    /// <summary>A message leaves in pieces of at most this size (256 KiB), so that urgent frames can go between.</summary>
    public const int MaxPiece = 256 * 1024;

    /// <summary>The largest message that is put together again (1 GiB).</summary>
    public const int MaxMessage = 1 << 30;

    /// <summary>Bytes before the payload.</summary>
    public const int HeaderLength = 13;

    /// <summary>Bytes a frame has beside its payload.</summary>
    public const int Overhead = HeaderLength + ChecksumLength;

    private const int LengthPrefix = 4;
    private const int ChecksumLength = 4;

    /// <summary>
    /// Takes the first frame off <paramref name="buffer"/>. False means that more bytes are needed; the buffer is then
    /// unchanged.
    /// </summary>
    /// <param name="buffer">The bytes; what was taken is cut off.</param>
    /// <param name="frame">The frame, a view of them.</param>
    /// <param name="isChecked">Whether its checksum has to be right (<see cref="RelayHello.IsChecked"/>).</param>
    /// <exception cref="RelayProtocolException">Length, kind, number or checksum can't be right.</exception>
    public static bool TryRead(ref ReadOnlySequence<byte> buffer, out RelayFrame frame, bool isChecked = true)
    {
        frame = default;
        if (buffer.Length < LengthPrefix)
        {
            return false;
        }

        Span<byte> header = stackalloc byte[HeaderLength];
        buffer.Slice(0, LengthPrefix).CopyTo(header);
        var length = BinaryPrimitives.ReadUInt32BigEndian(header);
        if (length is < Overhead - LengthPrefix or > Overhead - LengthPrefix + MaxPayload)
        {
            throw new RelayProtocolException($"a frame of {length} bytes");
        }

        if (buffer.Length - LengthPrefix < length)
        {
            return false;
        }

        buffer.Slice(0, HeaderLength).CopyTo(header);
        var covered = buffer.Slice(0, LengthPrefix + length - ChecksumLength);
        Span<byte> sent = stackalloc byte[ChecksumLength];
        buffer.Slice(covered.End, ChecksumLength).CopyTo(sent);
        if (isChecked && RelayChecksum.Of(covered) != BinaryPrimitives.ReadUInt32BigEndian(sent))
        {
            throw new RelayProtocolException("a frame with a wrong checksum");
        }

        var kind = (RelayFrameKind)header[LengthPrefix];
        var number = BinaryPrimitives.ReadUInt64BigEndian(header[(LengthPrefix + 1)..]);
        if (kind is < RelayFrameKind.Hello or > RelayFrameKind.Notice)
        {
            throw new RelayProtocolException($"a frame of unknown kind {header[LengthPrefix]}");
        }

        if ((RelayFrame.LaneOf(kind) == RelayLane.None) != (number == 0))
        {
            throw new RelayProtocolException($"a frame of kind {kind} with number {number}");
        }

        frame = new RelayFrame(kind, number, covered.Slice(HeaderLength));
        buffer = buffer.Slice(LengthPrefix + (long)length);
        return true;
    }

    /// <summary>Makes a frame; the array is the frame and nothing else.</summary>
    public static byte[] Encode(RelayFrameKind kind, ulong number, ReadOnlySpan<byte> payload)
    {
        var frame = Allocate(payload.Length);
        payload.CopyTo(frame.AsSpan(HeaderLength));
        Seal(frame, kind, number);
        return frame;
    }

    /// <summary>An array for a frame whose payload, from <see cref="HeaderLength"/> on, the caller fills before <see cref="Seal"/>.</summary>
    public static byte[] Allocate(int payloadLength)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(payloadLength, MaxPayload);
        return GC.AllocateUninitializedArray<byte>(payloadLength + Overhead);
    }

    /// <summary>Writes header and checksum around the payload that is in place already.</summary>
    public static void Seal(byte[] frame, RelayFrameKind kind, ulong number)
    {
        var span = frame.AsSpan();
        BinaryPrimitives.WriteUInt32BigEndian(span, (uint)(span.Length - LengthPrefix));
        span[LengthPrefix] = (byte)kind;
        BinaryPrimitives.WriteUInt64BigEndian(span[(LengthPrefix + 1)..], number);
        BinaryPrimitives.WriteUInt32BigEndian(span[^ChecksumLength..], RelayChecksum.Of(span[..^ChecksumLength]));
    }

    /// <summary>Makes an ACK frame.</summary>
    public static byte[] EncodeAck(ulong bulk, ulong urgent)
    {
        Span<byte> payload = stackalloc byte[16];
        BinaryPrimitives.WriteUInt64BigEndian(payload, bulk);
        BinaryPrimitives.WriteUInt64BigEndian(payload[8..], urgent);
        return Encode(RelayFrameKind.Ack, 0, payload);
    }

    /// <summary>Reads the payload of an ACK frame.</summary>
    /// <exception cref="RelayProtocolException">It has another length.</exception>
    public static (ulong Bulk, ulong Urgent) ReadAck(in ReadOnlySequence<byte> payload)
    {
        if (payload.Length != 16)
        {
            throw new RelayProtocolException($"an ACK of {payload.Length} bytes");
        }

        Span<byte> bytes = stackalloc byte[16];
        payload.CopyTo(bytes);
        return (BinaryPrimitives.ReadUInt64BigEndian(bytes), BinaryPrimitives.ReadUInt64BigEndian(bytes[8..]));
    }
}
