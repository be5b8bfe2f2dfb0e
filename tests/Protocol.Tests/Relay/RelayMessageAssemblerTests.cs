using System.Buffers;
using InterpreterKernel.Protocol.Relay;

namespace InterpreterKernel.Protocol.Tests.Relay;

public sealed class RelayMessageAssemblerTests
{
    [Fact]
    public void A_message_cut_anywhere_comes_out_as_it_went_in()
    {
        var random = new Random(5);
        var assembler = new RelayMessageAssembler();
        for (var round = 0; round < 300; round++)
        {
            ReadOnlyMemory<byte>[] frames = [.. Enumerable.Range(0, random.Next(12)).Select(_ => (ReadOnlyMemory<byte>)Bytes(random, random.Next(3) * random.Next(400)))];
            var payload = Encoded(frames);

            assembler.IsEmpty.ShouldBeTrue();
            for (var at = 0; at < payload.Length;)
            {
                var count = Math.Min(payload.Length - at, 1 + random.Next(200));
                assembler.Add(Segments.Cut(payload.AsSpan(at, count).ToArray(), random, 50));
                assembler.IsEmpty.ShouldBeFalse();
                at += count;
            }

            var message = assembler.Complete();
            message.Channel.ShouldBe(RelayChannel.IOPub);
            message.Frames.Select(Convert).ShouldBe(frames.Select(Convert));
        }

        static string Convert(ReadOnlyMemory<byte> frame) => System.Convert.ToHexString(frame.Span);
    }

    [Fact]
    public void A_message_cut_short_at_any_byte_is_refused()
    {
        var payload = Encoded(["identity"u8.ToArray(), Array.Empty<byte>(), "{}"u8.ToArray()]);
        for (var length = 0; length < payload.Length; length++)
        {
            var assembler = new RelayMessageAssembler();
            assembler.Add(new ReadOnlySequence<byte>(payload, 0, length));
            Should.Throw<RelayProtocolException>(() => assembler.Complete());
        }
    }

    [Theory]
    [InlineData("000000")]                      // no such channel
    [InlineData("060000")]
    [InlineData("010001ffffffff")]              // a frame of 4 GiB
    [InlineData("01000140000001")]              // more than a message may have
    [InlineData("0100010000000000000000")]      // bytes left over
    public void A_message_that_can_not_be_is_refused_as_soon_as_that_is_seen(string hex) =>
        Should.Throw<RelayProtocolException>(() => new RelayMessageAssembler().Add(new ReadOnlySequence<byte>(Convert.FromHexString(hex))));

    [Fact]
    public void A_message_whose_end_did_not_come_is_refused()
    {
        var assembler = new RelayMessageAssembler();
        assembler.Add(new ReadOnlySequence<byte>(Convert.FromHexString("01ffff")));     // 65,535 frames in no bytes
        Should.Throw<RelayProtocolException>(() => assembler.Complete());
    }

    private static byte[] Encoded(ReadOnlyMemory<byte>[] frames) =>
        [.. RelayMessage.Encode(RelayChannel.IOPub, frames).SelectMany(piece => piece[RelayCodec.HeaderLength..^4])];

    private static byte[] Bytes(Random random, int count)
    {
        var bytes = new byte[count];
        random.NextBytes(bytes);
        return bytes;
    }
}
