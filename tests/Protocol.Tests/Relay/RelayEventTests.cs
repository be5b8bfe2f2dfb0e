using System.Buffers;
using System.Text;
using System.Text.Json;
using InterpreterKernel.Protocol.Relay;

namespace InterpreterKernel.Protocol.Tests.Relay;

public sealed class RelayEventTests
{
    [Fact]
    public void A_started_kernel_brings_its_spec_and_its_info_as_it_sent_it()
    {
        var started = Decode("""
            {"op":"started","pid":7,"session":"s","spec":{"argv":["r"],"language":"R"},"interrupt_mode":"message","kernel_info":"{ \"a\": 1 }"}
            """).ShouldBeOfType<KernelStarted>();

        started.Pid.ShouldBe(7);
        started.Session.ShouldBe("s");
        started.InterruptMode.ShouldBe("message");
        started.KernelInfo.ShouldBe("""{ "a": 1 }""");
        started.Kernelspec.GetProperty("language").GetString().ShouldBe("R");
    }

    [Fact]
    public void A_death_tells_how() =>
        Decode("""{"op":"died","exit_code":null,"signal":"SIGKILL","stderr":"last","oom":true,"commanded":false}""")
            .ShouldBe(new KernelDied(new KernelEnding(null, "SIGKILL", "last"), Commanded: false, OutOfMemory: true));

    [Fact]
    public void The_other_events_are_read()
    {
        Decode("""{"op":"interrupted","delivered":true,"parent":"m"}""").ShouldBe(new KernelInterrupted(true, "m"));
        Decode("""{"op":"interrupted","delivered":false,"parent":null,"cell":"c"}""").ShouldBe(new KernelInterrupted(false, null) { Cell = "c" });
        Decode("""{"op":"killed","exit_code":null,"signal":"SIGKILL","stderr":""}""").ShouldBe(new KernelKilled(new KernelEnding(null, "SIGKILL", "")));
        Decode("""{"op":"dropped","bytes":5000000000,"parent":null}""").ShouldBe(new OutputDropped(5_000_000_000, null));
        Decode("""{"op":"start_failed","message":"no","exit_code":1,"signal":null,"stderr":""}""")
            .ShouldBe(new KernelStartFailed("no", new KernelEnding(1, null, "")));
        Decode("""{"op":"tomorrow"}""").ShouldBe(new UnknownRelayEvent("tomorrow"));
    }

    [Theory]
    [InlineData("")]
    [InlineData("[]")]
    [InlineData("{}")]
    [InlineData("""{"op":1}""")]
    [InlineData("""{"op":"died","exit_code":"x"}""")]
    [InlineData("""{"op":"dropped","bytes":1.5}""")]
    [InlineData("""{"op":"interrupted","delivered":3}""")]
    public void An_event_of_the_wrong_shape_is_refused(string json) => Should.Throw<RelayProtocolException>(() => Decode(json));

    [Theory]
    [InlineData("{}")]
    [InlineData("7")]
    [InlineData("""{"version":1,"link":"x","received":{"bulk":-1,"urgent":0}}""")]
    [InlineData("""{"version":2,"link":"x","received":{"bulk":1,"urgent":0}}""")]
    public void A_hello_of_the_wrong_shape_or_version_is_refused(string json) =>
        Should.Throw<RelayProtocolException>(() => RelayHello.Decode(Bytes(json)));

    [Fact]
    public void A_command_says_which_requests_came_before_it()
    {
        var start = new StartKernel("ir", "s-1")
        {
            WorkingDirectory = "/home/user",
            Arguments = ["a b", "{connection_file}"],
            Environment = new Dictionary<string, string?> { ["A"] = "1", ["B"] = null },
        };

        using var json = JsonDocument.Parse(start.Encode(12));
        json.RootElement.GetRawText().ShouldBe(
            """{"op":"start","bulk":12,"kernel":"ir","session":"s-1","cwd":"/home/user","argv":["a b","{connection_file}"],"env":{"A":"1","B":null}}""");
        Encoding.UTF8.GetString(new InterruptKernel().Encode(3).Span).ShouldBe("""{"op":"interrupt","bulk":3}""");
        Encoding.UTF8.GetString(new InterruptKernel("c").Encode(3).Span).ShouldBe("""{"op":"interrupt","bulk":3,"cell":"c"}""");
        Encoding.UTF8.GetString(new RestartKernel("s-2").Encode(3).Span).ShouldBe("""{"op":"restart","bulk":3,"session":"s-2"}""");
    }

    private static RelayEvent Decode(string json) => RelayEvent.Decode(Bytes(json));

    private static ReadOnlySequence<byte> Bytes(string json) => new(Encoding.UTF8.GetBytes(json));
}
