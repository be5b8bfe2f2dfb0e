using System.Buffers.Binary;

namespace InterpreterKernel.Protocol.Relay;

/// <summary>
/// A ZeroMQ message of the kernel, as it travels in BULK and URGENT frames:
/// <code>
/// byte 0      channel
/// bytes 1..2  number of frames, big-endian
/// per frame   u32 length, big-endian, and its bytes
/// </code>
/// The frames are those of Jupyter: identities, the delimiter, a signature (empty here: each side signs with its own key),
/// header, parent header, metadata, content, buffers. This type knows only how many bytes each has.
/// </summary>
/// <param name="Channel">The socket it goes to or came from.</param>
/// <param name="Frames">Its frames in order; empty ones count.</param>
public sealed record RelayMessage(RelayChannel Channel, IReadOnlyList<ReadOnlyMemory<byte>> Frames)
{
    private const int HeaderLength = 3;
    private const int LengthPrefix = 4;

    /// <summary>Bytes the encoded message takes, over all pieces.</summary>
    /// <exception cref="ArgumentException">It is over what the relay takes: 65,535 frames, 1 GiB.</exception>
    public static int EncodedLength(IReadOnlyList<ReadOnlyMemory<byte>> frames)
    {
        long length = HeaderLength;
        for (var i = 0; i < frames.Count; i++)
        {
            length += LengthPrefix + (long)frames[i].Length;
        }

        return frames.Count <= ushort.MaxValue && length <= RelayCodec.MaxMessage
            ? (int)length
            : throw new ArgumentException($"a message of {frames.Count} frames and {length} bytes is too large for the relay", nameof(frames));
    }

    /// <summary>Encodes a message into the payloads of one or more relay frames, each ready for <see cref="RelayCodec.Seal"/>.</summary>
    public static byte[][] Encode(RelayChannel channel, IReadOnlyList<ReadOnlyMemory<byte>> frames)
    {
        var left = EncodedLength(frames);
        var pieces = new byte[(left + RelayCodec.MaxPiece - 1) / RelayCodec.MaxPiece][];
        for (var i = 0; i < pieces.Length; i++)
        {
            pieces[i] = RelayCodec.Allocate(Math.Min(left, RelayCodec.MaxPiece));
            left -= RelayCodec.MaxPiece;
        }

        var writer = new PieceWriter(pieces);
        Span<byte> prefix = stackalloc byte[LengthPrefix];
        prefix[0] = (byte)channel;
        BinaryPrimitives.WriteUInt16BigEndian(prefix[1..], (ushort)frames.Count);
        writer.Write(prefix[..HeaderLength]);
        for (var i = 0; i < frames.Count; i++)
        {
            BinaryPrimitives.WriteUInt32BigEndian(prefix, (uint)frames[i].Length);
            writer.Write(prefix);
            writer.Write(frames[i].Span);
        }

        return pieces;
    }

    /// <summary>Reads a message; its frames are views of <paramref name="payload"/>.</summary>
    /// <exception cref="RelayProtocolException">Counts and lengths do not add up, or the channel is unknown.</exception>
    public static RelayMessage Decode(ReadOnlyMemory<byte> payload)
    {
        var span = payload.Span;
        if (span.Length < HeaderLength || span[0] is < (byte)RelayChannel.Shell or > (byte)RelayChannel.Interrupt)
        {
            throw new RelayProtocolException("a message without a known channel");
        }

        var count = BinaryPrimitives.ReadUInt16BigEndian(span[1..]);
        if ((long)count * LengthPrefix > span.Length - HeaderLength)
        {
            throw new RelayProtocolException($"a message of {span.Length} bytes claims {count} frames");
        }

        var frames = new ReadOnlyMemory<byte>[count];
        var at = HeaderLength;
        for (var i = 0; i < count; i++)
        {
            if (span.Length - at < LengthPrefix)
            {
                throw new RelayProtocolException("a message is cut off");
            }

            var length = BinaryPrimitives.ReadUInt32BigEndian(span[at..]);
            at += LengthPrefix;
            if (length > (uint)(span.Length - at))
            {
                throw new RelayProtocolException("a frame of a message is cut off");
            }

            frames[i] = payload.Slice(at, (int)length);
            at += (int)length;
        }

        return at == span.Length
            ? new RelayMessage((RelayChannel)span[0], frames)
            : throw new RelayProtocolException($"a message has {span.Length - at} bytes left over");
    }

    /// <summary>Fills the payload parts of frames one after the other.</summary>
    private struct PieceWriter(byte[][] pieces)
    {
        private int _piece;
        private int _at = RelayCodec.HeaderLength;

        public void Write(ReadOnlySpan<byte> bytes)
        {
            while (!bytes.IsEmpty)
            {
                var room = PayloadOf(_piece)[(_at - RelayCodec.HeaderLength)..];
                if (room.IsEmpty)
                {
                    _piece++;
                    _at = RelayCodec.HeaderLength;
                    continue;
                }

                var take = Math.Min(room.Length, bytes.Length);
                bytes[..take].CopyTo(room);
                bytes = bytes[take..];
                _at += take;
            }
        }

        private readonly Span<byte> PayloadOf(int piece) =>
            pieces[piece].AsSpan(RelayCodec.HeaderLength, pieces[piece].Length - RelayCodec.Overhead);
    }
}
