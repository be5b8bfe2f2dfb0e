using System.Text;
using InterpreterKernel.Protocol.Jupyter;

namespace InterpreterKernel.Protocol.Tests.Jupyter;

public sealed class JupyterMessageTests
{
    [Fact]
    public void Type_id_session_and_parent_are_read_from_the_headers()
    {
        var message = new JupyterMessage
        {
            Header = Utf8("""{"date":"x","nested":{"msg_type":"wrong"},"list":["msg_id"],"msg_id":"m1","session":"s1","msg_type":"execute_request"}"""),
            ParentHeader = Utf8("""{"msg_id":"p1"}"""),
        };

        message.MessageType.ShouldBe("execute_request");
        message.MessageId.ShouldBe("m1");
        message.Session.ShouldBe("s1");
        message.ParentMessageId.ShouldBe("p1");
    }

    [Theory]
    [InlineData("")]
    [InlineData("[]")]
    [InlineData("{")]
    [InlineData("""{"msg_type":"x" """)]
    [InlineData("""{"msg_type":"\ud800"}""")]
    [InlineData("null")]
    public void A_header_that_is_no_object_has_no_fields(string json)
    {
        var message = new JupyterMessage { Header = Utf8(json) };

        message.MessageType.ShouldBeEmpty();
        message.MessageId.ShouldBeEmpty();
        message.ParentMessageId.ShouldBeEmpty();
    }

    [Fact]
    public void Fields_of_other_types_read_as_absent()
    {
        var message = new JupyterMessage { Header = Utf8("""{"msg_type":{"a":["b"]},"session":null,"msg_id":"m"}""") };

        message.MessageType.ShouldBeEmpty();
        message.Session.ShouldBeEmpty();
        message.MessageId.ShouldBe("m");
    }

    [Fact]
    public void Length_counts_every_frame()
        => new JupyterMessage { Identities = [Utf8("12")], Header = Utf8("{}"), Buffers = [Utf8("345"), Utf8("")] }.Length.ShouldBe(2 + 8 + 3);

    [Fact]
    public void A_readdressed_message_keeps_its_memory()
    {
        var message = new JupyterMessage { Header = Utf8("""{"msg_type":"t"}"""), Buffers = [Utf8("b")] };

        var other = message.WithIdentities([Utf8("me")]);

        other.Header.ShouldBe(message.Header);
        other.Buffers.ShouldBeSameAs(message.Buffers);
        other.MessageType.ShouldBe("t");
        other.Identities.Count.ShouldBe(1);
    }

    private static byte[] Utf8(string text) => Encoding.UTF8.GetBytes(text);
}
