using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using InterpreterKernel.Protocol.Jupyter;

namespace InterpreterKernel.Protocol.Tests.Jupyter;

public sealed class KernelMessagesTests
{
    private static readonly CellError s_error = CellError.Plain("CellTimeout", "after 10 s \"quoted\" ü");

    private readonly KernelMessages _messages = new("session-1", "me", new FixedTime(), "5.4");

    private readonly JupyterMessage _request = new()
    {
        Identities = [Encoding.UTF8.GetBytes("client")],
        Header = Encoding.UTF8.GetBytes("""{"msg_id":"r1","msg_type":"execute_request","extra":[1]}"""),
    };

    [Fact]
    public void The_header_has_what_clients_demand()
    {
        var header = Json(_messages.Status("busy", _request).Header);

        header.GetProperty("session").GetString().ShouldBe("session-1");
        header.GetProperty("username").GetString().ShouldBe("me");
        header.GetProperty("version").GetString().ShouldBe("5.4");
        header.GetProperty("msg_type").GetString().ShouldBe("status");
        header.GetProperty("date").GetString().ShouldBe("2026-11-21T10:11:12.345678Z");
        header.GetProperty("msg_id").GetString().ShouldNotBeNullOrEmpty();
    }

    [Fact]
    public void No_two_messages_share_an_id()
        => Enumerable.Range(0, 100).Select(_ => _messages.Status("idle", null).MessageId).Distinct().Count().ShouldBe(100);

    [Fact]
    public void The_parent_is_the_request_s_header_byte_for_byte()
    {
        _messages.Status("idle", _request).ParentHeader.ShouldBe(_request.Header);
        _messages.InterruptReply(_request).ParentHeader.ShouldBe(_request.Header);
        Text(_messages.Status("starting", null).ParentHeader).ShouldBe("{}");
    }

    [Fact]
    public void What_is_published_has_a_topic_and_a_reply_has_its_client()
    {
        Text(_messages.Stream("stdout", "x", _request).Identities.Single()).ShouldBe("stream.stdout");
        Text(_messages.Status("busy", _request).Identities.Single()).ShouldBe("kernel.session-1.status");
        Text(_messages.ShutdownReply(_request, restart: true).Identities.Single()).ShouldBe("client");
    }

    [Fact]
    public void The_contents_are_those_of_the_protocol()
    {
        Content(_messages.Status("busy", null)).ShouldBe("""{"execution_state":"busy"}""");
        Content(_messages.Stream("stderr", "a\nb\u001b ü", null)).ShouldBe("""{"name":"stderr","text":"a\nb\u001B ü"}""");
        Content(_messages.ClearOutput(true, null)).ShouldBe("""{"wait":true}""");
        Content(_messages.InterruptReply(_request)).ShouldBe("""{"status":"ok"}""");
        Content(_messages.AbortedReply(_request)).ShouldBe("""{"status":"aborted"}""");
        Content(_messages.ShutdownReply(_request, restart: false)).ShouldBe("""{"status":"ok","restart":false}""");
        Content(_messages.KernelInfoReply(_request, "{\"raw\" : 1}"u8.ToArray())).ShouldBe("""{"raw" : 1}""");
    }

    [Fact]
    public void A_failed_execute_has_an_error_on_iopub_and_a_reply_with_a_count()
    {
        var error = Json(_messages.Error(s_error, _request).Content);
        error.GetProperty("ename").GetString().ShouldBe("CellTimeout");
        error.GetProperty("evalue").GetString().ShouldBe(s_error.Value);
        error.GetProperty("traceback").GetArrayLength().ShouldBe(1);
        error.TryGetProperty("status", out _).ShouldBeFalse();

        var reply = _messages.ErrorReply(_request, s_error, 7)!;
        reply.MessageType.ShouldBe("execute_reply");
        var content = Json(reply.Content);
        content.GetProperty("status").GetString().ShouldBe("error");
        content.GetProperty("execution_count").GetInt32().ShouldBe(7);
        content.GetProperty("ename").GetString().ShouldBe("CellTimeout");
    }

    [Fact]
    public void Any_request_can_be_answered_with_an_error_and_what_is_no_request_can_not()
    {
        var complete = new JupyterMessage { Header = Encoding.UTF8.GetBytes("""{"msg_type":"complete_request"}""") };
        var comm = new JupyterMessage { Header = Encoding.UTF8.GetBytes("""{"msg_type":"comm_msg"}""") };

        var reply = _messages.ErrorReply(complete, s_error)!;

        reply.MessageType.ShouldBe("complete_reply");
        Json(reply.Content).GetProperty("status").GetString().ShouldBe("error");
        _messages.ErrorReply(comm, s_error).ShouldBeNull();
        KernelMessages.ReplyTypeOf("_request").ShouldBeNull();
    }

    [Fact]
    public void Another_session_keeps_the_rest()
    {
        var other = _messages.WithSession("session-2").Status("idle", null);

        other.Session.ShouldBe("session-2");
        Json(other.Header).GetProperty("version").GetString().ShouldBe("5.4");
    }

    [Fact]
    public void The_date_is_one_that_jupyter_client_parses()
    {
        // jupyter_client/jsonutil.py ISO8601
        var pattern = new Regex(@"^(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(\.\d{1,6})?(Z|([\+\-]\d{2}:?\d{2}))?$");
        pattern.IsMatch(Json(_messages.Status("busy", null).Header).GetProperty("date").GetString()!).ShouldBeTrue();
    }

    private static JsonElement Json(ReadOnlyMemory<byte> json) => JsonDocument.Parse(json).RootElement;

    private static string Content(JupyterMessage message) => Text(message.Content);

    private static string Text(ReadOnlyMemory<byte> bytes) => Encoding.UTF8.GetString(bytes.Span);

    private sealed class FixedTime : TimeProvider
    {
        public override DateTimeOffset GetUtcNow() => new DateTimeOffset(2026, 11, 21, 12, 11, 12, 345, TimeSpan.FromHours(2)).AddTicks(6789);
    }
}
