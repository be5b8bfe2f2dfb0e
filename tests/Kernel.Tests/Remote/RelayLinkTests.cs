using System.Text;
using System.Threading.Channels;
using InterpreterKernel.Kernel.Remote;
using InterpreterKernel.Protocol.Relay;

namespace InterpreterKernel.Kernel.Tests.Remote;

public sealed class RelayLinkTests : IAsyncDisposable
{
    private static readonly RelayLinkOptions s_quick = new() { FirstRetry = TimeSpan.FromMilliseconds(5), LongestRetry = TimeSpan.FromMilliseconds(20) };
    private readonly FakeRelay _relay = new();
    private RelayLink? _link;

    public async ValueTask DisposeAsync()
    {
        if (_link is not null)
        {
            await _link.DisposeAsync();
        }
    }

    [Fact]
    public async Task The_first_command_goes_along_with_the_greeting()
    {
        var link = Open();
        link.SendCommand(new StartKernel("python3", "s"));
        link.Start();
        var attachment = await _relay.NextAsync();

        (await attachment.FrameAsync())!.Value.Kind.ShouldBe(RelayFrameKind.Hello);
        (await attachment.FrameAsync())!.Value.Kind.ShouldBe(RelayFrameKind.Command);
    }

    [Fact]
    public async Task Only_what_the_relay_has_not_received_goes_again()
    {
        var link = Open();
        link.Start();
        var first = await (await _relay.NextAsync()).GreetAsync();
        for (var i = 0; i < 5; i++)
        {
            link.Send(RelayChannel.Shell, Frames($"m{i}"));
        }

        for (var i = 0; i < 5; i++)
        {
            await first.FrameAsync(RelayFrameKind.Bulk);
        }

        await first.DisposeAsync();
        var second = await (await _relay.NextAsync()).GreetAsync(bulk: 3);
        (await second.FrameAsync(RelayFrameKind.Bulk)).Number.ShouldBe(4ul);
        (await second.FrameAsync(RelayFrameKind.Bulk)).Number.ShouldBe(5ul);
        link.SendCommand(new InterruptKernel());
        (await second.FrameAsync())!.Value.Kind.ShouldBe(RelayFrameKind.Command);
    }

    [Fact]
    public async Task What_was_sent_while_the_relay_is_away_arrives_in_order_with_urgent_frames_first()
    {
        var link = Open();
        link.Start();
        var first = await (await _relay.NextAsync()).GreetAsync();
        link.Send(RelayChannel.Shell, Frames("a"));
        await first.FrameAsync(RelayFrameKind.Bulk);
        await first.DisposeAsync();
        var second = await _relay.NextAsync();
        link.Send(RelayChannel.Shell, Frames("b"));
        link.Send(RelayChannel.Control, Frames("c"));
        link.Send(RelayChannel.Shell, Frames("d"));
        await second.GreetAsync(bulk: 1);

        var order = new List<(RelayFrameKind, ulong)>();
        while (order.Count < 3)
        {
            var frame = (await second.FrameAsync())!.Value;
            order.Add((frame.Kind, frame.Number));
        }

        order.ShouldBe([(RelayFrameKind.Urgent, 1ul), (RelayFrameKind.Bulk, 2ul), (RelayFrameKind.Bulk, 3ul)]);
    }

    [Fact]
    public async Task A_control_message_behind_a_large_one_keeps_its_place_and_an_interrupt_does_not()
    {
        var link = Open();
        link.Start();
        var attachment = await (await _relay.NextAsync()).GreetAsync();
        link.Send(RelayChannel.Control, [new byte[600_000]]);
        link.Send(RelayChannel.Control, Frames("later"));
        link.Send(RelayChannel.Interrupt, Frames("now"));

        var kinds = new List<RelayFrameKind>();
        while (kinds.Count < 5)
        {
            kinds.Add((await attachment.FrameAsync())!.Value.Kind);
        }

        kinds.Count(kind => kind == RelayFrameKind.Urgent).ShouldBe(1);
        kinds.Count(kind => kind == RelayFrameKind.BulkPart).ShouldBe(2);
        kinds[^1].ShouldBe(RelayFrameKind.Bulk);
        await attachment.SendAsync(RelayCodec.EncodeAck(4, 1));
        await attachment.SendAsync(RelayCodec.Encode(RelayFrameKind.Ping, 0, []));
        await attachment.FrameAsync(RelayFrameKind.Pong);
        link.Send(RelayChannel.Control, Frames("free again"));
        (await attachment.FrameAsync())!.Value.Kind.ShouldBe(RelayFrameKind.Urgent);
    }

    [Fact]
    public async Task Frames_that_come_twice_are_taken_once_and_urgent_ones_before_the_rest()
    {
        var link = Open();
        link.Start();
        var first = await (await _relay.NextAsync()).GreetAsync();
        await first.SendAsync(FakeAttachment.Message(1, "a"), FakeAttachment.Message(2, "b"), FakeAttachment.Message(1, "u", RelayFrameKind.Urgent));
        await first.SendAsync(RelayCodec.Encode(RelayFrameKind.Ping, 0, []));
        await first.FrameAsync(RelayFrameKind.Pong);
        await first.DisposeAsync();
        var second = await _relay.NextAsync();
        var hello = await second.FrameAsync(RelayFrameKind.Hello);
        Encoding.UTF8.GetString(hello.Payload).ShouldContain("""
            "received":{"bulk":2,"urgent":1}
            """.Trim());
        await second.SendAsync(FakeAttachment.Hello(LinkOf(hello.Payload), 0, 0, "one"), FakeAttachment.Message(2, "b"), FakeAttachment.Message(3, "c"));

        (await TakeAsync(link, 4)).ShouldBe(["u", "a", "b", "c"]);
    }

    [Fact]
    public async Task What_nobody_takes_is_not_acknowledged()
    {
        var link = Open();
        link.Start();
        var attachment = await (await _relay.NextAsync()).GreetAsync();
        await attachment.SendAsync(FakeAttachment.Message(1, "u", RelayFrameKind.Urgent));
        await attachment.SendAsync([.. Enumerable.Range(1, 100).Select(i => FakeAttachment.Message((ulong)i, $"m{i}"))]);

        RelayCodec.ReadAck(new((await attachment.FrameAsync(RelayFrameKind.Ack)).Payload)).ShouldBe((0ul, 1ul));
        await TakeAsync(link, 31);
        ulong bulk;
        do
        {
            (bulk, _) = RelayCodec.ReadAck(new((await attachment.FrameAsync(RelayFrameKind.Ack)).Payload));
            bulk.ShouldBeLessThanOrEqualTo(30ul);
        }
        while (bulk < 30);
    }

    [Fact]
    public async Task A_relay_that_ignores_the_window_is_not_read_beyond_the_limit()
    {
        var link = Open(s_quick with { ReceiveLimit = 1_000_000 });
        link.Start();
        var attachment = await (await _relay.NextAsync()).GreetAsync();
        var text = new string('x', 100_000);
        for (var i = 1; i <= 40; i++)
        {
            await attachment.SendAsync(FakeAttachment.Message((ulong)i, text));
        }

        await TakeAsync(link, 1);
        attachment.Unread.ShouldBeGreaterThan(2_000_000);
        (await TakeAsync(link, 39)).ShouldAllBe(taken => taken == text);
    }

    [Fact]
    public async Task The_writer_waits_when_too_much_is_unacknowledged_and_urgent_frames_do_not()
    {
        var link = Open(s_quick with { SendWindow = 100_000 });
        link.Start();
        var attachment = await (await _relay.NextAsync()).GreetAsync();
        for (var i = 0; i < 10; i++)
        {
            link.Send(RelayChannel.Shell, [new byte[60_000]]);
        }

        (await attachment.FrameAsync(RelayFrameKind.Bulk)).Number.ShouldBe(1ul);
        (await attachment.FrameAsync(RelayFrameKind.Bulk)).Number.ShouldBe(2ul);
        link.SendCommand(new InterruptKernel());
        (await attachment.FrameAsync())!.Value.Kind.ShouldBe(RelayFrameKind.Command);
        for (var i = 3ul; i <= 10; i++)
        {
            await attachment.SendAsync(RelayCodec.EncodeAck(i - 1, 1));
            (await attachment.FrameAsync(RelayFrameKind.Bulk)).Number.ShouldBe(i);
        }
    }

    [Fact]
    public async Task An_attachment_that_hangs_is_soon_given_up_and_the_next_ones_get_more_time()
    {
        var time = new WatchedTime();
        var link = Open(s_quick with { FirstRetry = TimeSpan.Zero, LongestRetry = TimeSpan.Zero }, time);
        link.Start();

        foreach (var seconds in (int[])[10, 20, 40, 40])
        {
            var attachment = await _relay.NextAsync();
            (await time.LongTimerAsync()).ShouldBe(TimeSpan.FromSeconds(seconds));  // for the start of its process
            (await time.LongTimerAsync()).ShouldBe(TimeSpan.FromSeconds(seconds));  // for its greeting
            time.Advance(TimeSpan.FromSeconds(seconds));
            await attachment.GivenUpAsync();
        }

        await (await (await _relay.NextAsync()).GreetAsync()).DisposeAsync();
        (await time.LongTimerAsync()).ShouldBe(TimeSpan.FromSeconds(40));
        (await time.LongTimerAsync()).ShouldBe(TimeSpan.FromSeconds(40));
        await _relay.NextAsync();
        (await time.LongTimerAsync()).ShouldBe(TimeSpan.FromSeconds(10));
    }

    [Fact]
    public async Task Silence_is_asked_about_and_then_ends_the_attachment()
    {
        var time = new WatchedTime();
        var interval = s_quick.PingInterval;
        var link = Open(time: time);
        var changes = new List<RelayConnection>();
        link.ConnectionChanged += changes.Add;
        link.Start();
        var attachment = await (await _relay.NextAsync()).GreetAsync();
        await time.PeriodicTimerAsync();

        for (var answered = 0; answered < 3; answered++)
        {
            time.Advance(interval);
            await attachment.FrameAsync(RelayFrameKind.Ping);
            await attachment.SendAndSettleAsync(Task.Delay(Timeout.Infinite), RelayCodec.Encode(RelayFrameKind.Pong, 0, []));
        }

        link.Connection.IsConnected.ShouldBeTrue();
        time.Advance(interval * 2.5);
        await attachment.GivenUpAsync();
        await (await _relay.NextAsync()).GreetAsync();
        await WhenAsync(link, connection => connection.IsConnected);

        changes.Select(change => change.IsConnected).ShouldBe([true, false, true]);
        changes[1].Reason.ShouldBe("nothing was heard from the sandbox for 7.5 s");
        changes[1].Since.ShouldBe(time.GetUtcNow());
    }

    [Fact]
    public async Task A_link_that_rests_is_asked_seldom_and_one_that_was_roused_is_watched_as_closely_as_ever()
    {
        var time = new WatchedTime();
        var link = Open(time: time);
        link.Start();
        var attachment = await (await _relay.NextAsync()).GreetAsync();
        await time.PeriodicTimerAsync();
        link.Rest();
        for (var asked = 0; asked < 2; asked++)
        {
            time.Advance(s_quick.RestingPingInterval);
            await attachment.FrameAsync(RelayFrameKind.Ping);
            await attachment.SendAndSettleAsync(Task.Delay(Timeout.Infinite), RelayCodec.Encode(RelayFrameKind.Pong, 0, []));
        }

        // What was silent for long while it rested is not lost for that; what does not answer now is.
        time.Advance(s_quick.RestingPingInterval * 0.9);
        link.Send(RelayChannel.Shell, Frames("a cell"));
        await attachment.FrameAsync(RelayFrameKind.Bulk);
        link.Connection.IsConnected.ShouldBeTrue();
        time.Advance(s_quick.PingInterval);
        await attachment.FrameAsync(RelayFrameKind.Ping);
        time.Advance(s_quick.PingInterval * 1.5);
        await attachment.GivenUpAsync();
        await (await _relay.NextAsync()).GreetAsync();
    }

    [Fact]
    public async Task An_answer_that_does_not_come_ends_the_attachment_though_other_bytes_do()
    {
        var time = new WatchedTime();
        var link = Open(time: time);
        link.Start();
        var attachment = await (await _relay.NextAsync()).GreetAsync();
        await time.PeriodicTimerAsync();
        attachment.Stall();
        link.Send(RelayChannel.Shell, Frames("never arrives"));
        await attachment.Stuck.WaitAsync(TimeSpan.FromSeconds(30));

        var next = _relay.NextAsync();
        var begin = time.GetUtcNow();
        while (!next.IsCompleted)
        {
            await attachment.SendAndSettleAsync(next, RelayCodec.Encode(RelayFrameKind.Ping, 0, []));
            time.Advance(s_quick.PingInterval / 2);
        }

        (time.GetUtcNow() - begin).ShouldBeGreaterThan(s_quick.PingInterval * 5);
        await (await (await next).GreetAsync()).FrameAsync(RelayFrameKind.Bulk);
    }

    [Fact]
    public async Task What_only_looks_final_is_tried_again_before_it_ends_the_link()
    {
        // One byte that was damaged on the way makes a good key a wrong one.
        var link = Open(s_quick with { IsFinal = static e => e is UnauthorizedAccessException, FinalAfter = 3 });
        foreach (var failure in new Exception?[] { new UnauthorizedAccessException("1"), new UnauthorizedAccessException("2"), null })
        {
            _relay.Failures.Enqueue(failure);
        }

        link.Start();
        var attachment = await (await _relay.NextAsync()).GreetAsync();
        for (var i = 1; i <= 3; i++)
        {
            _relay.Failures.Enqueue(new UnauthorizedAccessException($"revoked {i}"));
        }

        await attachment.DisposeAsync();

        (await link.Completion.WaitAsync(TimeSpan.FromSeconds(30))).Message.ShouldBe("revoked 3");
    }

    [Fact]
    public async Task A_failed_attempt_is_repeated_and_a_final_one_ends_the_link_with_the_first_reason()
    {
        var link = Open(s_quick with { IsFinal = static e => e is UnauthorizedAccessException });
        foreach (var failure in new Exception?[] { new IOException("1"), new IOException("2"), new TimeoutException("3"), null, new UnauthorizedAccessException("revoked") })
        {
            _relay.Failures.Enqueue(failure);
        }

        link.Start();
        var attachment = await (await _relay.NextAsync()).GreetAsync();
        await attachment.SendAsync(FakeAttachment.Message(1, "kept"));
        await attachment.SendAsync(RelayCodec.Encode(RelayFrameKind.Ping, 0, []));
        await attachment.FrameAsync(RelayFrameKind.Pong);
        await attachment.DisposeAsync();
        var end = await link.Completion.WaitAsync(TimeSpan.FromSeconds(30));
        link.End("too late");

        end.Reason.ShouldBe(RelayLinkEndReason.AttachFailed);
        end.Message.ShouldBe("revoked");
        (await TakeAsync(link, 1)).ShouldBe(["kept"]);
        (await link.ReadAllAsync().GetAsyncEnumerator().MoveNextAsync()).ShouldBeFalse();
        link.Send(RelayChannel.Shell, Frames("into the void"));
    }

    [Fact]
    public async Task An_end_by_the_owner_is_the_reason_though_the_attachment_breaks_of_it()
    {
        var link = Open();
        link.Start();
        var attachment = await (await _relay.NextAsync()).GreetAsync();
        link.End("the sandbox expired");
        var end = await link.Completion.WaitAsync(TimeSpan.FromSeconds(30));

        end.ShouldBe(new RelayLinkEnd(RelayLinkEndReason.Ended, "the sandbox expired"));
        attachment.IsDisposed.ShouldBeTrue();
    }

    [Fact]
    public async Task Another_relay_than_before_ends_the_link()
    {
        var link = Open();
        link.Start();
        await (await (await _relay.NextAsync()).GreetAsync()).DisposeAsync();
        await (await _relay.NextAsync()).GreetAsync(instance: "two");

        (await link.Completion.WaitAsync(TimeSpan.FromSeconds(30))).Reason.ShouldBe(RelayLinkEndReason.RelayReplaced);
    }

    [Fact]
    public async Task A_sandbox_in_which_no_relay_starts_any_more_ends_the_link_after_a_while()
    {
        var time = new FakeTime();
        var link = Open(
            s_quick with
            {
                FirstRetry = TimeSpan.Zero,
                LongestRetry = TimeSpan.Zero,
                RelayGoneAfter = TimeSpan.FromSeconds(30),
                AttachTimeout = TimeSpan.FromMinutes(1),
            },
            time);
        link.Start();
        await (await (await _relay.NextAsync()).GreetAsync()).DisposeAsync();
        await EndAfterAsync(TimeSpan.Zero);
        await EndAfterAsync(TimeSpan.FromSeconds(20));
        await (await (await _relay.NextAsync()).GreetAsync()).DisposeAsync();
        await EndAfterAsync(TimeSpan.FromSeconds(20));
        await EndAfterAsync(TimeSpan.FromSeconds(20));
        var last = await _relay.NextAsync();
        link.Completion.IsCompleted.ShouldBeFalse("a relay was there in between");
        time.Advance(TimeSpan.FromSeconds(20));
        await last.DisposeAsync();
        (await link.Completion.WaitAsync(TimeSpan.FromSeconds(30))).Reason.ShouldBe(RelayLinkEndReason.RelayGone);

        async Task EndAfterAsync(TimeSpan wait)
        {
            var attachment = await _relay.NextAsync();
            time.Advance(wait);
            await attachment.DisposeAsync();
        }
    }

    public static TheoryData<string, bool> WrongFrames => new()
    {
        { Convert.ToHexString(RelayCodec.EncodeAck(99, 0)), true },
        { Convert.ToHexString(RelayCodec.Encode(RelayFrameKind.Ack, 0, [1])), true },
        { Convert.ToHexString(RelayCodec.Encode(RelayFrameKind.Command, 1, "{}"u8)), true },
        { Convert.ToHexString(RelayCodec.Encode(RelayFrameKind.Event, 1, "{"u8)), true },
        { Convert.ToHexString(RelayCodec.Encode(RelayFrameKind.Bulk, 1, [9, 0, 0])), true },
        { Convert.ToHexString(FakeAttachment.Hello("x", 0, 0, "one")), true },
        { Convert.ToHexString(FakeAttachment.Message(7, "a gap")), false },
        { "FFFFFFFF", false },
        { "0000000F0700000000000000076869DEADBEEF", false },
    };

    [Theory]
    [MemberData(nameof(WrongFrames))]
    public async Task What_no_relay_sends_ends_the_link_and_what_a_bad_line_does_only_the_attachment(string hex, bool ends)
    {
        var link = Open();
        link.Start();
        var attachment = await (await _relay.NextAsync()).GreetAsync();
        await attachment.SendAsync(Convert.FromHexString(hex));
        await attachment.GivenUpAsync();

        if (ends)
        {
            (await link.Completion.WaitAsync(TimeSpan.FromSeconds(30))).Reason.ShouldBe(RelayLinkEndReason.ProtocolViolated);
        }
        else
        {
            await (await _relay.NextAsync()).GreetAsync();
            await WhenAsync(link, connection => connection.IsConnected);
        }
    }

    [Theory]
    [InlineData(5, 0)]
    [InlineData(0, 7)]
    public async Task A_greeting_that_claims_what_was_never_sent_ends_the_link(ulong bulk, ulong urgent)
    {
        var link = Open();
        link.Send(RelayChannel.Shell, Frames("one"));
        link.Start();
        var first = await (await _relay.NextAsync()).GreetAsync();
        await first.FrameAsync(RelayFrameKind.Bulk);
        await first.DisposeAsync();
        await (await _relay.NextAsync()).GreetAsync(bulk, urgent);

        (await link.Completion.WaitAsync(TimeSpan.FromSeconds(30))).Reason.ShouldBe(RelayLinkEndReason.ProtocolViolated);
    }

    [Fact]
    public async Task Mutated_streams_neither_hang_the_link_nor_bring_a_wrong_message()
    {
        var random = new Random(11);
        for (var round = 0; round < 300; round++)
        {
            await using var link = Open();
            link.Start();
            var attachment = await (await _relay.NextAsync()).GreetAsync();
            var stream = Enumerable.Range(1, 6).SelectMany(i => FakeAttachment.Message((ulong)i, $"message {i}")).ToArray();
            var at = random.Next(stream.Length);
            stream[at] ^= (byte)random.Next(1, 256);
            await attachment.SendAsync(stream);
            await attachment.DisposeAsync();
            var second = await _relay.NextAsync();
            var hello = await second.FrameAsync(RelayFrameKind.Hello);
            var received = System.Text.Json.JsonElement.Parse(hello.Payload).GetProperty("received").GetProperty("bulk").GetUInt64();
            await second.SendAsync(FakeAttachment.Hello(LinkOf(hello.Payload), 0, 0, "one"));
            for (var i = received + 1; i <= 6; i++)
            {
                await second.SendAsync(FakeAttachment.Message(i, $"message {i}"));
            }

            (await TakeAsync(link, 6)).ShouldBe(Enumerable.Range(1, 6).Select(i => $"message {i}"));
        }
    }

    [Theory]
    [InlineData(true, true, false)]
    [InlineData(true, false, false)]
    [InlineData(false, true, false)]
    [InlineData(false, false, true)]
    public async Task A_wrong_checksum_costs_the_attachment_unless_neither_side_needs_one(bool attachmentNeeds, bool relayNeeds, bool isTaken)
    {
        _relay.NeedsChecksums = attachmentNeeds;
        var link = Open();
        link.Start();
        var attachment = await (await _relay.NextAsync()).GreetAsync(isChecked: relayNeeds);
        var frame = FakeAttachment.Message(1, "text");
        frame[^1] ^= 1;
        await attachment.SendAsync(frame);
        if (!isTaken)
        {
            await (await (await _relay.NextAsync()).GreetAsync()).SendAsync(FakeAttachment.Message(1, "again"));
        }

        (await TakeAsync(link, 1)).ShouldBe([isTaken ? "text" : "again"]);
    }

    private RelayLink Open(RelayLinkOptions? options = null, TimeProvider? time = null) =>
        _link = new RelayLink(_relay.AttachAsync, options ?? s_quick, time ?? TimeProvider.System);

    private static ReadOnlyMemory<byte>[] Frames(string text) => [Encoding.UTF8.GetBytes(text)];

    private static string LinkOf(byte[] hello) => System.Text.Json.JsonElement.Parse(hello).GetProperty("link").GetString()!;

    private static async Task<List<string>> TakeAsync(RelayLink link, int count)
    {
        var taken = new List<string>();
        using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        await foreach (var item in link.ReadAllAsync(patience.Token))
        {
            taken.Add(Encoding.UTF8.GetString(item.ShouldBeOfType<RelayItemMessage>().Message.Frames[0].Span));
            if (taken.Count == count)
            {
                break;
            }
        }

        return taken;
    }

    private static async Task WhenAsync(RelayLink link, Func<RelayConnection, bool> condition)
    {
        var changed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        void OnChanged(RelayConnection connection)
        {
            if (condition(connection))
            {
                changed.TrySetResult();
            }
        }

        link.ConnectionChanged += OnChanged;
        OnChanged(link.Connection);
        await changed.Task.WaitAsync(TimeSpan.FromSeconds(30));
        link.ConnectionChanged -= OnChanged;
    }

    /// <summary>A <see cref="FakeTime"/> that says when the watch of an attachment has begun to wait on it, and how long what else waits.</summary>
    private sealed class WatchedTime : TimeProvider
    {
        private readonly FakeTime _time = new();
        private readonly Channel<TimeSpan> _long = Channel.CreateUnbounded<TimeSpan>();
        private readonly TaskCompletionSource _periodic = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public override long TimestampFrequency => _time.TimestampFrequency;

        /// <summary>How long the next wait of ten seconds or more is.</summary>
        public Task<TimeSpan> LongTimerAsync() => _long.Reader.ReadAsync().AsTask().WaitAsync(TimeSpan.FromSeconds(30));

        public Task PeriodicTimerAsync() => _periodic.Task.WaitAsync(TimeSpan.FromSeconds(30));

        public void Advance(TimeSpan by) => _time.Advance(by);

        public override DateTimeOffset GetUtcNow() => _time.GetUtcNow();

        public override long GetTimestamp() => _time.GetTimestamp();

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            var timer = _time.CreateTimer(callback, state, dueTime, period);
            if (period != Timeout.InfiniteTimeSpan)
            {
                _periodic.TrySetResult();
            }
            else if (dueTime >= TimeSpan.FromSeconds(10))
            {
                _long.Writer.TryWrite(dueTime);
            }

            return timer;
        }
    }
}
