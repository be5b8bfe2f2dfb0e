using System.Diagnostics;
using System.Globalization;
using System.Text;
using InterpreterKernel.Kernel.Jupyter;
using InterpreterKernel.Protocol.Jupyter;

namespace InterpreterKernel.Kernel.Tests.Jupyter;

/// <summary>Clients that read late, slowly or never: nobody else loses anything, and our memory stays bounded.</summary>
[Collection(AloneCollection.Name)]
public sealed class SlowClientTests
{
    private const int Count = 20_000;

    // Hastier, a reader that a busy machine leaves without a processor for a moment would count as stuck.
    private static readonly JupyterSocketsOptions s_hasty = new() { StuckAfter = TimeSpan.FromSeconds(1) };

    [Theory]
    [InlineData(JupyterTransport.Tcp)]
    [InlineData(JupyterTransport.Ipc)]
    public async Task A_client_that_never_reads_costs_the_other_nothing(JupyterTransport transport)
    {
        await using var fixture = new SocketsFixture(transport, options: s_hasty);
        var stuck = fixture.Subscriber(receiveMark: 1);
        var reader = fixture.Subscriber();
        stuck.TryReceiveFrames(JupyterChannel.Iopub, TimeSpan.Zero);

        var sending = SendAsync(fixture.Sockets, Count, 2_000);
        ReceiveAll(reader, Count);
        await sending.WaitAsync(JupyterTestClient.Limit);

        fixture.Sockets.Counters.IopubDropped.ShouldBeGreaterThan(0);
        fixture.Log.ShouldContain(line => line.Contains("misses output", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Large_outputs_pass_a_client_that_never_reads()
    {
        await using var fixture = new SocketsFixture(options: s_hasty);
        fixture.Subscriber(receiveMark: 1);
        var reader = fixture.Subscriber();

        var sending = SendAsync(fixture.Sockets, 100, 2_000_000);
        ReceiveAll(reader, 100);
        await sending.WaitAsync(JupyterTestClient.Limit);
    }

    [Fact]
    public async Task A_stuck_client_that_reads_again_gets_everything_from_then_on()
    {
        await using var fixture = new SocketsFixture(options: s_hasty);
        var sleepy = fixture.Subscriber(receiveMark: 1);
        var reader = fixture.Subscriber();
        var sending = SendAsync(fixture.Sockets, Count, 2_000);
        ReceiveAll(reader, Count);
        await sending.WaitAsync(JupyterTestClient.Limit);

        // It wakes and reads what was kept for it; the next message makes the sockets notice.
        while (sleepy.TryReceiveFrames(JupyterChannel.Iopub, TimeSpan.FromMilliseconds(300)) is not null)
        {
        }

        fixture.Sockets.Send(JupyterChannel.Iopub, SocketsFixture.Output(0));
        await fixture.LoggedAsync("reads again", 1);
        var dropped = fixture.Sockets.Counters.IopubDropped;
        sleepy.Receive(JupyterChannel.Iopub);
        reader.Receive(JupyterChannel.Iopub);
        sending = SendAsync(fixture.Sockets, 3_000, 2_000);
        await Task.WhenAll(sending, ReadAllAsync(reader, 3_000), ReadAllAsync(sleepy, 3_000)).WaitAsync(JupyterTestClient.Limit);
        fixture.Sockets.Counters.IopubDropped.ShouldBe(dropped);
    }

    [Fact]
    public async Task A_lone_client_that_pauses_loses_nothing_however_long()
    {
        await using var fixture = new SocketsFixture(options: s_hasty);
        var client = fixture.Subscriber(receiveMark: 1);

        var sending = SendAsync(fixture.Sockets, Count, 2_000);
        (await Task.WhenAny(sending, Task.Delay(s_hasty.StuckAfter * 4))).ShouldNotBe(sending);
        ReceiveAll(client, Count);
        await sending.WaitAsync(JupyterTestClient.Limit);

        fixture.Sockets.Counters.IopubDropped.ShouldBe(0);
    }

    [Fact]
    public async Task Two_clients_that_pause_together_lose_nothing()
    {
        // Less hasty than the others: afterwards both must read steadily, on a machine that may have better things to do.
        var options = new JupyterSocketsOptions { StuckAfter = TimeSpan.FromSeconds(1) };
        await using var fixture = new SocketsFixture(options: options);
        var one = fixture.Subscriber(receiveMark: 1);
        var two = fixture.Subscriber(receiveMark: 1);

        var sending = SendAsync(fixture.Sockets, Count, 2_000);
        (await Task.WhenAny(sending, Task.Delay(options.StuckAfter * 2.5))).ShouldNotBe(sending);
        fixture.Sockets.Counters.IopubDropped.ShouldBe(0);
        await Task.WhenAll(sending, ReadAllAsync(one, Count), ReadAllAsync(two, Count)).WaitAsync(JupyterTestClient.Limit);

        fixture.Sockets.Counters.IopubDropped.ShouldBe(0);
    }

    [Fact]
    public async Task A_sender_waits_for_room_while_nobody_reads()
    {
        await using var fixture = new SocketsFixture(options: new JupyterSocketsOptions { RoomBytes = 1 << 20 });
        var client = fixture.Subscriber(receiveMark: 1);
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(2));
        var sent = 0;

        await Should.ThrowAsync<OperationCanceledException>(async () =>
        {
            while (true)
            {
                await fixture.Sockets.WaitForRoomAsync(limit.Token);
                fixture.Sockets.Send(JupyterChannel.Iopub, SocketsFixture.Output(sent++, 10_000));
            }
        });

        // One MiB of ours, 256 messages in libzmq, and what the system keeps for a connection.
        sent.ShouldBeLessThan(2_000);
        ReceiveAll(client, sent);
        await fixture.Sockets.WaitForRoomAsync(CancellationToken.None).AsTask().WaitAsync(JupyterTestClient.Limit);
    }

    [Fact]
    public async Task Output_over_the_bound_is_lost_with_a_warning_and_memory_stays_bounded()
    {
        await using var fixture = new SocketsFixture(options: s_hasty with { RoomBytes = 1 << 20, IopubSpoolBytes = 4 << 20, Linger = TimeSpan.Zero });
        fixture.Subscriber(receiveMark: 1);

        // This sender does not wait for room.
        for (var i = 0; i < 5_000; i++)
        {
            fixture.Sockets.Send(JupyterChannel.Iopub, SocketsFixture.Output(i, 10_000));
        }

        await fixture.LoggedAsync("misses output", 1);
        while (fixture.Sockets.QueuedBytes > 5 << 20)
        {
            await fixture.Sockets.FlushAsync(TimeSpan.FromMilliseconds(50));
        }

        fixture.Sockets.Counters.IopubDropped.ShouldBeGreaterThan(0);
    }

    [Fact]
    public async Task A_client_that_asks_and_never_reads_loses_its_replies_only()
    {
        await using var fixture = new SocketsFixture(options: new JupyterSocketsOptions { PeerBytes = 4 << 20 });
        var greedy = fixture.Client("greedy");
        var polite = fixture.Client("polite");
        greedy.Socket(JupyterChannel.Shell, receiveMark: 1);
        var answer = new byte[1_000_000];
        fixture.OnMessage = (channel, request) =>
        {
            var reply = SocketsFixture.ReplyTo(request);
            var wanted = Encoding.UTF8.GetString(request.Identities[0].Span) == "greedy";
            fixture.Sockets.Send(channel, wanted ? new JupyterMessage { Identities = reply.Identities, Header = reply.Header, Buffers = [answer] } : reply);
        };
        for (var i = 0; i < 100; i++)
        {
            greedy.Send(JupyterChannel.Shell, JupyterTestClient.Message("x_request"));
        }

        await fixture.LoggedAsync("does not read the replies", 1);
        polite.Ask(JupyterChannel.Shell, JupyterTestClient.Message("x_request")).MessageType.ShouldBe("reply");
        fixture.Sockets.Counters.RepliesDropped.ShouldBeInRange(1, 99);
    }

    [Fact]
    public async Task A_reply_waits_for_the_output_before_it_but_not_for_ever()
    {
        var wait = TimeSpan.FromMilliseconds(700);
        await using var fixture = new SocketsFixture(options: new JupyterSocketsOptions { ReplyWaitsForOutput = wait });
        fixture.OnMessage = (channel, request) =>
        {
            for (var i = 0; i < 20_000; i++)
            {
                fixture.Sockets.Send(JupyterChannel.Iopub, SocketsFixture.Output(i, 1_000));
            }

            fixture.Sockets.Send(channel, SocketsFixture.ReplyTo(request));
        };
        var client = fixture.Subscriber(receiveMark: 1);
        var clock = Stopwatch.StartNew();

        client.Ask(JupyterChannel.Shell, JupyterTestClient.Message("execute_request")).MessageType.ShouldBe("reply");

        clock.Elapsed.ShouldBeGreaterThan(wait * 0.9);
        fixture.Sockets.Send(JupyterChannel.Iopub, SocketsFixture.Output(20_000));
        ReceiveAll(client, 20_001);
    }

    [Fact]
    public async Task Closing_with_a_client_that_never_reads_is_bounded()
    {
        await using var fixture = new SocketsFixture(options: new JupyterSocketsOptions { Linger = TimeSpan.FromMilliseconds(300) });
        fixture.Subscriber(receiveMark: 1);
        for (var i = 0; i < Count; i++)
        {
            fixture.Sockets.Send(JupyterChannel.Iopub, SocketsFixture.Output(i, 2_000));
        }

        var clock = Stopwatch.StartNew();
        await fixture.Sockets.DisposeAsync();

        clock.Elapsed.ShouldBeLessThan(TimeSpan.FromSeconds(5));
        fixture.Log.ShouldContain(line => line.Contains("are lost", StringComparison.Ordinal));
    }

    private static Task SendAsync(JupyterSockets sockets, int count, int size) => Task.Run(async () =>
    {
        for (var i = 0; i < count; i++)
        {
            await sockets.WaitForRoomAsync(CancellationToken.None);
            sockets.Send(JupyterChannel.Iopub, SocketsFixture.Output(i, size));
        }
    });

    // On a thread of its own: it blocks, and the pool's threads are few.
    private static Task ReadAllAsync(JupyterTestClient client, int count)
        => Task.Factory.StartNew(() => ReceiveAll(client, count), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    private static void ReceiveAll(JupyterTestClient client, int count)
    {
        for (var i = 0; i < count; i++)
        {
            client.Receive(JupyterChannel.Iopub).MessageId.ShouldBe(i.ToString(CultureInfo.InvariantCulture));
        }
    }
}
