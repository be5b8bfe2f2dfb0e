using System.Text;
using System.Text.Json;
using InterpreterKernel.Kernel.Remote;
using InterpreterKernel.Protocol.Relay;

namespace InterpreterKernel.Kernel.Tests.Remote;

/// <summary>
/// What a hostile sandbox may send: streams of the relay's protocol, spoilt as bytes or inside their checksums. IK_FUZZ says how many
/// (2,000 without it; <c>scripts/fuzz.sh</c> plays a million), IK_FUZZ_SEED with which seed.
/// </summary>
[Collection(AloneCollection.Name)]
public sealed class RelayLinkFuzzTests
{
    private static readonly RelayFrameKind[] s_kinds =
    [
        RelayFrameKind.Bulk, RelayFrameKind.BulkPart, RelayFrameKind.Urgent, RelayFrameKind.Event, RelayFrameKind.Ack, RelayFrameKind.Ping,
        RelayFrameKind.Pong, RelayFrameKind.Hello, RelayFrameKind.Command, (RelayFrameKind)0, (RelayFrameKind)200,
    ];

    private static readonly byte[][] s_oddEvents =
    [
        .. ((string[])["", "{", "[]", "null", "{\"op\":7}", "{\"op\":\"started\"}", "{\"op\":\"died\",\"exit_code\":\"x\"}", "{\"op\":\"dropped\",\"bytes\":-1}", "{\"op\":\"made up\"}"])
            .Select(Encoding.UTF8.GetBytes),
        Encoding.UTF8.GetBytes(new string('[', 3000)),
    ];

    [Fact]
    public async Task Streams_that_are_spoilt_end_their_attachment_or_the_link_and_what_is_sound_arrives_once_and_in_order()
    {
        var count = Number("IK_FUZZ", 2000);
        var random = new Random(Number("IK_FUZZ_SEED", 1));
        var played = 0;
        var (violated, sound) = (0, 0);
        var before = GC.GetTotalMemory(forceFullCollection: true);
        while (played < count)
        {
            // A link lives until somebody breaks the protocol behind a sound checksum: that can only be a hostile relay, and ends it.
            var relay = new HostileRelay(random, () => ++played > count);
            await using var link = new RelayLink(
                relay.AttachAsync,
                new RelayLinkOptions { FirstRetry = TimeSpan.Zero, LongestRetry = TimeSpan.Zero, IsFinal = e => e is EndOfFuzzException },
                TimeProvider.System);
            link.Start();
            var arrived = 0;
            await foreach (var item in link.ReadAllAsync())
            {
                if (item is RelayItemMessage { Message: var message } && Encoding.UTF8.GetString(message.Frames[^1].Span) is var text && text.StartsWith("sound ", StringComparison.Ordinal))
                {
                    // Sound numbers come one after another, whatever came in between.
                    int.Parse(text.AsSpan(6), System.Globalization.CultureInfo.InvariantCulture).ShouldBe(++arrived);
                    sound++;
                }
            }

            var end = await link.Completion.WaitAsync(TimeSpan.FromSeconds(30));
            end.Reason.ShouldBeOneOf(RelayLinkEndReason.ProtocolViolated, RelayLinkEndReason.RelayReplaced, RelayLinkEndReason.AttachFailed);
            violated += end.Reason == RelayLinkEndReason.ProtocolViolated ? 1 : 0;
        }

        violated.ShouldBeGreaterThan(0);
        sound.ShouldBeGreaterThan(count / 20);
        (GC.GetTotalMemory(forceFullCollection: true) - before).ShouldBeLessThan(64L << 20);
    }

    private static int Number(string variable, int otherwise) =>
        int.TryParse(Environment.GetEnvironmentVariable(variable), System.Globalization.CultureInfo.InvariantCulture, out var number) ? number : otherwise;

    private sealed class EndOfFuzzException : Exception;

    /// <summary>Each attachment to it plays one stream, in pieces, and ends.</summary>
    private sealed class HostileRelay(Random random, Func<bool> isOver)
    {
        private int _sound;

        public Task<IRelayAttachment> AttachAsync(CancellationToken cancellationToken) =>
            isOver() ? Task.FromException<IRelayAttachment>(new EndOfFuzzException()) : Task.FromResult<IRelayAttachment>(new Attachment(this));

        private byte[] Stream(string link, ulong bulk, ulong urgent)
        {
            List<byte[]> frames = [FakeAttachment.Hello(link, 0, 0, random.Next(200) == 0 ? "another" : "one")];
            if (random.Next(3) == 0)
            {
                // A sound one. Its first message ends what an earlier stream may have left unfinished.
                frames.Add(FakeAttachment.Message(bulk + 1, "end"));
                for (var number = bulk + 2; number <= bulk + 4; number++)
                {
                    frames.Add(FakeAttachment.Message(number, $"sound {++_sound}"));
                }

                return Join(frames);
            }

            for (var i = random.Next(5); i >= 0; i--)
            {
                var kind = s_kinds[random.Next(s_kinds.Length)];
                ref var number = ref kind is RelayFrameKind.Urgent ? ref urgent : ref bulk;
                number++;
                frames.Add(RelayCodec.Encode(kind, random.Next(8) == 0 ? (ulong)random.NextInt64() : kind is RelayFrameKind.Ack ? 0 : number, Payload(kind)));
            }

            var whole = Join(frames);
            return random.Next(4) == 0 ? whole : Spoil(whole);
        }

        private byte[] Payload(RelayFrameKind kind)
        {
            if (kind == RelayFrameKind.Event)
            {
                return s_oddEvents[random.Next(s_oddEvents.Length)];
            }

            var bytes = new byte[random.Next(40)];
            random.NextBytes(bytes);
            return bytes;
        }

        private byte[] Spoil(byte[] bytes)
        {
            List<byte> spoilt = [.. bytes];
            for (var i = random.Next(3); i >= 0 && spoilt.Count > 0; i--)
            {
                var at = random.Next(spoilt.Count);
                var length = Math.Min(random.Next(1, 40), spoilt.Count - at);
                switch (random.Next(4))
                {
                    case 0: spoilt[at] ^= (byte)(1 << random.Next(8)); break;
                    case 1: spoilt.RemoveRange(at, length); break;
                    case 2: spoilt.InsertRange(at, spoilt.GetRange(at, length)); break;
                    default: spoilt.InsertRange(at, Enumerable.Range(0, length).Select(_ => (byte)random.Next(256)).ToArray()); break;
                }
            }

            return [.. spoilt];
        }

        private static byte[] Join(List<byte[]> frames) => [.. frames.SelectMany(f => f)];

        private sealed class Attachment(HostileRelay relay) : IRelayAttachment
        {
            private readonly TaskCompletionSource<byte[]> _stream = new(TaskCreationOptions.RunContinuationsAsynchronously);
            private int _at;

            public bool NeedsChecksums => true;

            public async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken)
            {
                var stream = await _stream.Task.WaitAsync(cancellationToken);
                var length = Math.Min(relay.Length(), stream.Length - _at);
                _at += length;
                stream.AsMemory(_at - length, length).CopyTo(buffer);
                return length;
            }

            public ValueTask WriteAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
            {
                if (!_stream.Task.IsCompleted)
                {
                    // The first thing that a link writes is its HELLO, which says what it has received.
                    var hello = JsonElement.Parse(bytes.Span[RelayCodec.HeaderLength..^4]);
                    var received = hello.GetProperty("received");
                    _stream.TrySetResult(relay.Stream(
                        hello.GetProperty("link").GetString()!, received.GetProperty("bulk").GetUInt64(), received.GetProperty("urgent").GetUInt64()));
                }

                return ValueTask.CompletedTask;
            }

            public ValueTask DisposeAsync()
            {
                _stream.TrySetResult([]);
                return ValueTask.CompletedTask;
            }
        }

        private int Length() => random.Next(1, 200);
    }
}
