using InterpreterKernel.Protocol.Relay;

namespace InterpreterKernel.Protocol.Tests.Relay;

public sealed class RelayMessageTests
{
    [Fact]
    public void A_message_has_the_bytes_of_the_protocol_page()
    {
        var pieces = RelayMessage.Encode(RelayChannel.IOPub, Frames("ab", "", "c"));

        Convert.ToHexStringLower(Payload(pieces.ShouldHaveSingleItem())).ShouldBe("040003" + "000000026162" + "00000000" + "0000000163");
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(RelayCodec.MaxPiece - 7)]
    [InlineData(RelayCodec.MaxPiece - 6)]
    [InlineData(8 * 1024 * 1024)]
    public void A_message_of_any_size_comes_back_from_its_pieces(int size)
    {
        var buffer = new byte[size];
        new Random(size).NextBytes(buffer);
        List<ReadOnlyMemory<byte>> frames = ["id"u8.ToArray(), buffer, ReadOnlyMemory<byte>.Empty];

        var pieces = RelayMessage.Encode(RelayChannel.Shell, frames);
        pieces.ShouldAllBe(piece => piece.Length <= RelayCodec.MaxPiece + RelayCodec.Overhead);
        pieces.Length.ShouldBe((RelayMessage.EncodedLength(frames) + RelayCodec.MaxPiece - 1) / RelayCodec.MaxPiece);
        var message = RelayMessage.Decode(pieces.SelectMany(Payload).ToArray());

        message.Channel.ShouldBe(RelayChannel.Shell);
        message.Frames.Count.ShouldBe(3);
        message.Frames[1].Span.SequenceEqual(buffer).ShouldBeTrue();
        message.Frames[2].Length.ShouldBe(0);
    }

    [Fact]
    public void A_message_cut_short_at_any_byte_is_refused()
    {
        var payload = Payload(RelayMessage.Encode(RelayChannel.Stdin, Frames("identity", "<IDS|MSG>", "", "{}"))[0]);
        for (var length = 0; length < payload.Length; length++)
        {
            Should.Throw<RelayProtocolException>(() => RelayMessage.Decode(payload.AsMemory(0, length)));
        }

        Should.Throw<RelayProtocolException>(() => RelayMessage.Decode((byte[])[.. payload, 0]));
    }

    [Theory]
    [InlineData("00000000")]                    // no such channel
    [InlineData("060000")]
    [InlineData("01ffff")]                      // 65,535 frames in no bytes
    [InlineData("010001ffffffff")]              // a frame of 4 GiB
    public void A_message_that_promises_what_it_does_not_hold_is_refused(string hex) =>
        Should.Throw<RelayProtocolException>(() => RelayMessage.Decode(Convert.FromHexString(hex)));

    [Fact]
    public void A_message_with_more_frames_than_the_count_holds_is_not_sent() =>
        Should.Throw<ArgumentException>(() => RelayMessage.Encode(RelayChannel.Shell, new ReadOnlyMemory<byte>[65_536]));

    [Fact]
    public void Random_payloads_are_read_or_refused()
    {
        var random = new Random(4);
        var bytes = new byte[64];
        for (var round = 0; round < 50_000; round++)
        {
            random.NextBytes(bytes);
            bytes[0] = (byte)random.Next(7);
            bytes[1] = 0;
            bytes[2] = (byte)random.Next(4);
            try
            {
                RelayMessage.Decode(bytes.AsMemory(0, random.Next(bytes.Length)));
            }
            catch (RelayProtocolException)
            {
                continue;
            }
        }
    }

    private static ReadOnlyMemory<byte>[] Frames(params string[] frames) =>
        [.. frames.Select(frame => (ReadOnlyMemory<byte>)System.Text.Encoding.UTF8.GetBytes(frame))];

    private static byte[] Payload(byte[] piece) => piece[RelayCodec.HeaderLength..^4];
}
