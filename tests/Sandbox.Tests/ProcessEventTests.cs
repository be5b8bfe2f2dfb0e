using Google.Protobuf;
using InterpreterKernel.Protocol.Envd;
using InterpreterKernel.Sandbox.Processes;
using Event = InterpreterKernel.Protocol.Envd.ProcessEvent;
using Ours = InterpreterKernel.Sandbox.Processes.ProcessEvent;

namespace InterpreterKernel.Sandbox.Tests;

/// <summary>The hand-written reader and Google's must never disagree.</summary>
public sealed class ProcessEventTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(127)]
    [InlineData(128)]
    [InlineData(16383)]
    [InlineData(16384)]
    [InlineData(32768)]
    public void Output_is_handed_on_where_it_lies(int length)
    {
        var data = new byte[length];
        new Random(length).NextBytes(data);
        foreach (var (kind, e) in new[]
        {
            (ProcessEventKind.Stdout, new Event.Types.DataEvent { Stdout = ByteString.CopyFrom(data) }),
            (ProcessEventKind.Stderr, new Event.Types.DataEvent { Stderr = ByteString.CopyFrom(data) }),
            (ProcessEventKind.Pty, new Event.Types.DataEvent { Pty = ByteString.CopyFrom(data) }),
        })
        {
            var message = new ConnectResponse { Event = new Event { Data = e } }.ToByteArray();
            Ours.TryOutput(message, out var output).ShouldBeTrue();
            output.Kind.ShouldBe(kind);
            output.Data.ToArray().ShouldBe(data);
            if (length > 0)
            {
                message.AsSpan().Overlaps(output.Data.Span).ShouldBeTrue();
            }
        }
    }

    [Fact]
    public void What_the_short_way_accepts_reads_the_same_the_long_way()
    {
        var random = new Random(20261121);
        var accepted = 0;
        for (var i = 0; i < 200_000; i++)
        {
            // Mostly near the real thing: a good message with a few bytes changed, cut or added.
            var message = new StartResponse { Event = new Event { Data = new Event.Types.DataEvent { Stdout = ByteString.CopyFrom(new byte[random.Next(4)]) } } }
                .ToByteArray().Concat(new byte[random.Next(3)]).ToArray();
            for (var change = random.Next(3); change > 0; change--)
            {
                message[random.Next(message.Length)] = (byte)random.Next(40);
            }

            if (Ours.TryOutput(message, out var quick))
            {
                accepted++;
                var slow = Ours.ParseAny(message);
                slow.Kind.ShouldBe(quick.Kind);
                slow.Data.ToArray().ShouldBe(quick.Data.ToArray());
            }
        }

        accepted.ShouldBeGreaterThan(1000);
    }

    [Fact]
    public void A_newer_daemons_fields_and_events_are_tolerated()
    {
        byte[] withUnknownField = [.. new StartResponse { Event = new Event { Data = new Event.Types.DataEvent { Stdout = ByteString.CopyFromUtf8("x") } } }.ToByteArray(), 0x50, 1];
        Ours.Parse(withUnknownField).Data.ToArray().ShouldBe("x"u8.ToArray());
        Ours.Parse(new byte[] { 0x0A, 3, 0x7A, 1, 0 }).Kind.ShouldBe(ProcessEventKind.Unknown);
        Ours.Parse(Array.Empty<byte>()).Kind.ShouldBe(ProcessEventKind.Unknown);
    }
}
