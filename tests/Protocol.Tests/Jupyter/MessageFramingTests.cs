using System.Text;
using InterpreterKernel.Protocol.Jupyter;

namespace InterpreterKernel.Protocol.Tests.Jupyter;

public sealed class MessageFramingTests
{
    [Fact]
    public void A_message_is_split_at_its_delimiter()
    {
        var frames = Frames("id1", "id2", "<IDS|MSG>", "sig", "h", "p", "m", "c", "b1", "");

        MessageFraming.TryRead(frames, out var message, out var signature, out _).ShouldBeTrue();

        message!.Identities.Select(Text).ShouldBe(["id1", "id2"]);
        Text(signature).ShouldBe("sig");
        new[] { message.Header, message.ParentHeader, message.Metadata, message.Content }.Select(Text).ShouldBe(["h", "p", "m", "c"]);
        message.Buffers.Select(Text).ShouldBe(["b1", ""]);
    }

    [Fact]
    public void Framing_is_the_inverse_of_reading()
    {
        string[][] all =
        [
            ["<IDS|MSG>", "", "{}", "{}", "{}", "{}"],
            ["t", "<IDS|MSG>", "s", "{}", "{}", "{}", "{}", "", "", "x"],
            ["a", "b", "c", "<IDS|MSG>", "s", "1", "2", "3", "4", "<IDS|MSG>"],
        ];
        foreach (var texts in all)
        {
            MessageFraming.TryRead(Frames(texts), out var message, out var signature, out _).ShouldBeTrue();
            MessageFraming.ToFrames(message!, signature).Select(Text).ShouldBe(texts);
        }
    }

    [Fact]
    public void A_message_with_too_few_frames_is_refused_at_every_count()
    {
        var whole = new[] { "id", "<IDS|MSG>", "s", "1", "2", "3", "4" };
        for (var count = 0; count < whole.Length; count++)
        {
            MessageFraming.TryRead(Frames(whole[..count]), out var message, out _, out var fault).ShouldBeFalse();
            message.ShouldBeNull();
            fault.ShouldNotBeNullOrEmpty();
        }
    }

    [Fact]
    public void Frames_without_a_delimiter_are_refused()
    {
        MessageFraming.TryRead(Frames("1", "2", "3", "4", "5", "6", "7", "<IDS|MSG"), out _, out _, out var fault).ShouldBeFalse();
        fault!.ShouldContain("delimiter");
    }

    private static ReadOnlyMemory<byte>[] Frames(params string[] texts)
        => Array.ConvertAll(texts, text => (ReadOnlyMemory<byte>)Encoding.UTF8.GetBytes(text));

    private static string Text(ReadOnlyMemory<byte> frame) => Encoding.UTF8.GetString(frame.Span);
}
