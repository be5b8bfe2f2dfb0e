using System.Buffers;
using System.Text;
using InterpreterKernel.Protocol.Connect;

namespace InterpreterKernel.Protocol.Tests.Connect;

public sealed class EnvelopeTests
{
    [Fact]
    public void The_header_is_a_flag_and_a_big_endian_length()
    {
        var output = new ArrayBufferWriter<byte>();

        Envelope.WriteHeader(output, 0, 0x01020304);

        output.WrittenSpan.ToArray().ShouldBe(new byte[] { 0, 1, 2, 3, 4 });
    }

    [Fact]
    public void The_end_without_error_is_an_empty_object()
    {
        var output = new ArrayBufferWriter<byte>();

        Envelope.WriteEnd(output, null);

        output.WrittenSpan.ToArray().ShouldBe(new byte[] { 2, 0, 0, 0, 2, (byte)'{', (byte)'}' });
    }

    [Fact]
    public void Envelopes_are_found_however_the_bytes_are_cut()
    {
        var payloads = new[] { "", "a", "hello", new string('x', 300), "ü" }.Select(Encoding.UTF8.GetBytes).ToArray();
        var wire = new ArrayBufferWriter<byte>();
        foreach (var payload in payloads)
        {
            Envelope.WriteHeader(wire, 0, payload.Length);
            wire.Write(payload);
        }

        var random = new Random(7);
        for (var round = 0; round < 200; round++)
        {
            Read(Cut(wire.WrittenMemory, random)).ShouldBe(payloads.Select(Convert.ToHexString));
        }
    }

    [Fact]
    public void A_part_of_an_envelope_is_left_alone_at_every_length()
    {
        var wire = new ArrayBufferWriter<byte>();
        Envelope.WriteEnd(wire, new ConnectError(ConnectCode.NotFound, "gone"));
        for (var length = 0; length < wire.WrittenCount; length++)
        {
            var buffer = new ReadOnlySequence<byte>(wire.WrittenMemory[..length]);
            Envelope.TryRead(ref buffer, out _, out _).ShouldBeFalse();
            buffer.Length.ShouldBe(length);
        }
    }

    [Fact]
    public void An_oversized_envelope_is_refused_before_its_payload_comes()
    {
        var buffer = new ReadOnlySequence<byte>([0, 0xff, 0xff, 0xff, 0xff]);
        Should.Throw<EnvelopeException>(() => Envelope.TryRead(ref buffer, out _, out _)).Message.ShouldContain("4294967295");

        var small = new ReadOnlySequence<byte>([0, 0, 0, 0, 11]);
        Should.Throw<EnvelopeException>(() => Envelope.TryRead(ref small, out _, out _, maxPayload: 10));
        Envelope.TryRead(ref small, out _, out _, maxPayload: 11).ShouldBeFalse();
    }

    [Theory]
    [InlineData(0x01)]
    [InlineData(0x03)]
    [InlineData(0x04)]
    [InlineData(0x80)]
    public void Unknown_flags_are_refused(byte flags)
    {
        var buffer = new ReadOnlySequence<byte>([flags, 0, 0, 0, 0]);

        Should.Throw<EnvelopeException>(() => Envelope.TryRead(ref buffer, out _, out _));
    }

    [Fact]
    public void An_error_at_the_end_is_read_back()
    {
        var wire = new ArrayBufferWriter<byte>();
        Envelope.WriteEnd(wire, new ConnectError(ConnectCode.DeadlineExceeded, "too \"late\""));
        var buffer = new ReadOnlySequence<byte>(wire.WrittenMemory);

        Envelope.TryRead(ref buffer, out var flags, out var payload).ShouldBeTrue();

        flags.ShouldBe(Envelope.EndOfStream);
        Envelope.ReadEnd(payload).ShouldBe(new ConnectError(ConnectCode.DeadlineExceeded, "too \"late\""));
    }

    [Theory]
    [InlineData("")]
    [InlineData("[]")]
    [InlineData("{")]
    public void An_end_that_is_no_object_is_refused(string json)
        => Should.Throw<EnvelopeException>(() => Envelope.ReadEnd(new ReadOnlySequence<byte>(Encoding.UTF8.GetBytes(json))));

    [Fact]
    public void An_error_of_unknown_form_is_still_an_error()
    {
        var payload = new ReadOnlySequence<byte>("{\"error\":17}"u8.ToArray());

        Envelope.ReadEnd(payload).ShouldBe(new ConnectError(ConnectCode.Unknown, "17"));
    }

    private static List<string> Read(IEnumerable<ReadOnlyMemory<byte>> chunks)
    {
        var found = new List<string>();
        var pending = Array.Empty<byte>();
        foreach (var chunk in chunks)
        {
            // The two parts stay apart, so that headers and payloads straddle segments.
            var buffer = Segment.Join(pending, chunk);
            while (Envelope.TryRead(ref buffer, out _, out var payload))
            {
                found.Add(Convert.ToHexString(payload.ToArray()));
            }

            pending = buffer.ToArray();
        }

        pending.ShouldBeEmpty();
        return found;
    }

    private static IEnumerable<ReadOnlyMemory<byte>> Cut(ReadOnlyMemory<byte> bytes, Random random)
    {
        while (bytes.Length > 0)
        {
            var length = Math.Min(bytes.Length, random.Next(1, random.Next(2, 60)));
            yield return bytes[..length];
            bytes = bytes[length..];
        }
    }

    private sealed class Segment : ReadOnlySequenceSegment<byte>
    {
        private Segment(ReadOnlyMemory<byte> memory, long start)
        {
            Memory = memory;
            RunningIndex = start;
        }

        internal static ReadOnlySequence<byte> Join(ReadOnlyMemory<byte> first, ReadOnlyMemory<byte> second)
        {
            var head = new Segment(first, 0);
            var tail = new Segment(second, first.Length);
            head.Next = tail;
            return new ReadOnlySequence<byte>(head, 0, tail, second.Length);
        }
    }
}
