using System.Buffers;
using System.Text;
using InterpreterKernel.Protocol.Relay;

namespace InterpreterKernel.Protocol.Tests.Relay;

public sealed class RelayCodecTests
{
    [Fact]
    public void A_frame_has_the_bytes_of_the_protocol_page()
    {
        var frame = RelayCodec.Encode(RelayFrameKind.Urgent, 7, "hi"u8);

        // The same frame made by Python: struct.pack(">IBQ", 15, 7, 7) + b"hi" + struct.pack(">I", zlib.crc32(...)).
        Convert.ToHexStringLower(frame).ShouldBe("0000000f07000000000000000768691079a7c3");
    }

    [Theory]
    [InlineData("", 0u)]
    [InlineData("123456789", 0xcbf43926u)]
    [InlineData("The quick brown fox jumps over the lazy dog", 0x414fa339u)]
    public void The_checksum_is_that_of_zlib(string text, uint expected) =>
        RelayChecksum.Of(Encoding.ASCII.GetBytes(text)).ShouldBe(expected);

    [Fact]
    public void The_checksum_of_long_input_is_that_of_zlib()
    {
        byte[] bytes = [.. Enumerable.Range(0, 256 * 41).Select(i => (byte)i)];

        // zlib.crc32(bytes(range(256)) * 41)
        RelayChecksum.Of(bytes).ShouldBe(0x2a57c8dbu);
    }

    [Fact]
    public void The_checksum_is_right_at_every_length_and_alignment()
    {
        var bytes = new byte[700];
        new Random(2).NextBytes(bytes);
        for (var length = 0; length <= 640; length++)
        {
            var start = length % 33;
            RelayChecksum.Of(bytes.AsSpan(start, length)).ShouldBe(BitByBit(bytes.AsSpan(start, length)), $"length {length}");
        }

        static uint BitByBit(ReadOnlySpan<byte> bytes)
        {
            var crc = uint.MaxValue;
            foreach (var value in bytes)
            {
                crc ^= value;
                for (var bit = 0; bit < 8; bit++)
                {
                    crc = (crc >> 1) ^ ((crc & 1) * 0xedb88320);
                }
            }

            return ~crc;
        }
    }

    [Fact]
    public void The_checksum_of_segments_is_that_of_the_whole()
    {
        var random = new Random(1);
        var bytes = new byte[5000];
        random.NextBytes(bytes);

        for (var i = 0; i < 50; i++)
        {
            RelayChecksum.Of(Segments.Cut(bytes, random, 40)).ShouldBe(RelayChecksum.Of(bytes));
        }
    }

    [Fact]
    public void Frames_cut_anywhere_are_read_whole()
    {
        var random = new Random(2);
        var (stream, expected) = RandomFrames(random, 200);

        for (var round = 0; round < 20; round++)
        {
            var rest = Segments.Cut(stream, random, 700);
            var read = new List<(RelayFrameKind, ulong, byte[])>();
            while (RelayCodec.TryRead(ref rest, out var frame))
            {
                read.Add((frame.Kind, frame.Number, frame.Payload.ToArray()));
            }

            rest.Length.ShouldBe(0);
            read.Select(f => (f.Item1, f.Item2)).ShouldBe(expected.Select(f => (f.Kind, f.Number)));
            read.Zip(expected).All(pair => pair.First.Item3.AsSpan().SequenceEqual(pair.Second.Payload)).ShouldBeTrue();
        }
    }

    [Fact]
    public void A_frame_cut_short_at_any_byte_needs_more_and_takes_nothing()
    {
        var frame = RelayCodec.Encode(RelayFrameKind.Bulk, 3, "payload"u8);
        for (var length = 0; length < frame.Length; length++)
        {
            var buffer = new ReadOnlySequence<byte>(frame, 0, length);
            RelayCodec.TryRead(ref buffer, out _).ShouldBeFalse();
            buffer.Length.ShouldBe(length);
        }
    }

    [Fact]
    public void A_frame_with_any_bit_changed_is_refused_or_needs_more_bytes()
    {
        var frame = RelayCodec.Encode(RelayFrameKind.Bulk, 3, "payload"u8);
        for (var bit = 0; bit < frame.Length * 8; bit++)
        {
            var broken = (byte[])frame.Clone();
            broken[bit / 8] ^= (byte)(1 << (bit % 8));
            var buffer = new ReadOnlySequence<byte>(broken);
            try
            {
                RelayCodec.TryRead(ref buffer, out _).ShouldBeFalse();
            }
            catch (RelayProtocolException)
            {
                continue;
            }
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(12)]
    [InlineData(RelayCodec.MaxPayload + 14)]
    [InlineData(-1)]
    public void A_length_out_of_bounds_is_refused_before_its_bytes_come(int length)
    {
        var bytes = BitConverter.GetBytes(length);
        Array.Reverse(bytes);
        var buffer = new ReadOnlySequence<byte>(bytes);
        Should.Throw<RelayProtocolException>(() => RelayCodec.TryRead(ref buffer, out _));
    }

    [Fact]
    public void An_unknown_kind_is_refused()
    {
        var buffer = new ReadOnlySequence<byte>(RelayCodec.Encode((RelayFrameKind)11, 1, []));
        Should.Throw<RelayProtocolException>(() => RelayCodec.TryRead(ref buffer, out _)).Message.ShouldContain("11");
    }

    [Theory]
    [InlineData(RelayFrameKind.Ack, 1)]
    [InlineData(RelayFrameKind.Hello, 9)]
    [InlineData(RelayFrameKind.Bulk, 0)]
    [InlineData(RelayFrameKind.Command, 0)]
    public void A_number_where_none_belongs_and_none_where_one_belongs_are_refused(RelayFrameKind kind, ulong number)
    {
        var buffer = new ReadOnlySequence<byte>(RelayCodec.Encode(kind, number, []));
        Should.Throw<RelayProtocolException>(() => RelayCodec.TryRead(ref buffer, out _));
    }

    [Fact]
    public void An_ack_is_read_back_and_one_of_another_length_refused()
    {
        var buffer = new ReadOnlySequence<byte>(RelayCodec.EncodeAck(5, ulong.MaxValue));
        RelayCodec.TryRead(ref buffer, out var frame).ShouldBeTrue();
        RelayCodec.ReadAck(frame.Payload).ShouldBe((5ul, ulong.MaxValue));
        Should.Throw<RelayProtocolException>(() => RelayCodec.ReadAck(new ReadOnlySequence<byte>(new byte[15])));
    }

    [Fact]
    public void Random_bytes_and_mutated_streams_end_in_a_refusal_or_a_wait_and_nothing_else()
    {
        var random = new Random(3);
        for (var round = 0; round < 20_000; round++)
        {
            byte[] bytes;
            if (round % 2 == 0)
            {
                bytes = new byte[random.Next(200)];
                random.NextBytes(bytes);
            }
            else
            {
                bytes = RandomFrames(random, 3).Stream;
                for (var i = random.Next(4); i >= 0; i--)
                {
                    bytes[random.Next(bytes.Length)] = (byte)random.Next(256);
                }
            }

            var rest = Segments.Cut(bytes, random, 50);
            try
            {
                while (RelayCodec.TryRead(ref rest, out var frame))
                {
                    frame.Payload.Length.ShouldBeLessThanOrEqualTo(RelayCodec.MaxPayload);
                }
            }
            catch (RelayProtocolException)
            {
                continue;
            }
        }
    }

    private static (byte[] Stream, List<(RelayFrameKind Kind, ulong Number, byte[] Payload)> Frames) RandomFrames(Random random, int count)
    {
        var stream = new MemoryStream();
        var frames = new List<(RelayFrameKind, ulong, byte[])>();
        for (var i = 0; i < count; i++)
        {
            var kind = (RelayFrameKind)random.Next(1, 11);
            var payload = new byte[random.Next(random.Next(10) == 0 ? 3000 : 30)];
            random.NextBytes(payload);
            var number = RelayFrame.LaneOf(kind) == RelayLane.None ? 0 : (ulong)random.NextInt64(1, long.MaxValue);
            stream.Write(RelayCodec.Encode(kind, number, payload));
            frames.Add((kind, number, payload));
        }

        return (stream.ToArray(), frames);
    }
}

/// <summary>Makes sequences of several segments.</summary>
internal sealed class Segments : ReadOnlySequenceSegment<byte>
{
    public static ReadOnlySequence<byte> Cut(byte[] bytes, Random random, int longest)
    {
        Segments? first = null;
        Segments? last = null;
        for (var at = 0; at < bytes.Length;)
        {
            var length = Math.Min(random.Next(1, longest + 1), bytes.Length - at);
            var next = new Segments { Memory = bytes.AsMemory(at, length), RunningIndex = at };
            if (last is not null)
            {
                last.Next = next;
            }

            first ??= next;
            last = next;
            at += length;
        }

        return first is null ? default : new ReadOnlySequence<byte>(first, 0, last!, last!.Memory.Length);
    }
}
