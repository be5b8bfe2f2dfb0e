using System.Diagnostics;
using System.Globalization;
using InterpreterKernel.Kernel.Remote;
using InterpreterKernel.Protocol.Relay;

namespace InterpreterKernel.Kernel.Tests.Remote;

/// <summary>Our link, the real relay.py and a real ipykernel.</summary>
public sealed class RelayLinkWithRelayTests
{
    private static readonly RelayLinkOptions s_options = new() { FirstRetry = TimeSpan.FromMilliseconds(10), LongestRetry = TimeSpan.FromMilliseconds(100) };

    [Fact]
    public async Task A_cell_runs_and_its_reply_comes_after_its_idle()
    {
        await using var relay = new RelayProcess();
        await using var client = new RelayConversation(new RelayLink(relay.AttachAsync, s_options, TimeProvider.System));

        var started = await client.StartAsync();
        started.Session.ShouldBe("session-1");
        started.KernelInfo!.ShouldContain("\"ipython\"");
        started.Kernelspec.GetProperty("language").GetString().ShouldBe("python");
        var id = client.Execute("print('hi')\n1+1");
        var reply = await client.ReplyAsync(id);

        client.Views(id).Select(view => view.Type).ShouldBe(["status", "execute_input", "stream", "execute_result", "status", "execute_reply"]);
        reply.FirstFrame.ShouldBe("client");
        reply.Content.GetProperty("status").GetString().ShouldBe("ok");
        client.Link.LastHello!.KernelState.ShouldBe("none");
        await EndAsync(client, relay);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public async Task Every_line_comes_once_and_in_order_though_the_link_is_cut_at_random_bytes_both_ways(int seed)
    {
        await using var relay = new RelayProcess();
        await using var client = new RelayConversation(new RelayLink(relay.AttachAsync, s_options, TimeProvider.System));
        await client.StartAsync();
        client.Items.Clear();

        var random = new Random(seed);
        relay.CutAfter = () => (random.Next(300, 8000), random.Next(150, 3000));
        await relay.CutAsync();
        var id = client.Execute(
            "import sys\nfor i in range(5000):\n    print(i)\n    if i % 50 == 0: sys.stdout.flush()\n    if i % 500 == 0: display(i)");
        var more = Enumerable.Range(0, 40).Select(i => client.Execute($"print('cell {i}')")).ToList();
        await client.ReplyAsync(more[^1]);

        client.Text(id).ShouldBe(string.Concat(Enumerable.Range(0, 5000).Select(i => i.ToString(CultureInfo.InvariantCulture) + "\n")));
        client.Views(id).Count(view => view.Type == "display_data").ShouldBe(10);
        for (var i = 0; i < more.Count; i++)
        {
            client.Text(more[i]).ShouldBe($"cell {i}\n");
        }

        client.Views().Where(view => view.Type == "execute_reply").Select(view => view.Parent).ShouldBe([id, .. more]);
        relay.Attached.ShouldBeGreaterThan(10);
        relay.CutAfter = null;
        await EndAsync(client, relay);
    }

    [Fact]
    public async Task A_large_buffer_goes_in_and_comes_back_though_the_link_is_cut()
    {
        await using var relay = new RelayProcess();
        await using var client = new RelayConversation(new RelayLink(relay.AttachAsync, s_options, TimeProvider.System));
        await client.StartAsync();
        await client.RunAsync(
            """
            def opened(comm, message):
                @comm.on_msg
                def echo(message):
                    comm.send({}, buffers=message['buffers'])
            get_ipython().kernel.comm_manager.register_target('echo', opened)
            """);
        client.Request("comm_open", """{"comm_id":"c","target_name":"echo","data":{}}""");
        var random = new Random(5);
        var buffer = new byte[8 * 1024 * 1024];
        random.NextBytes(buffer);
        var cuts = 0;
        relay.CutAfter = () => cuts++ < 8 ? (random.Next(100_000, 3_000_000), random.Next(100_000, 3_000_000)) : (long.MaxValue, long.MaxValue);
        await relay.CutAsync();

        client.Request("comm_msg", """{"comm_id":"c","data":{}}""", RelayChannel.Shell, buffer, ReadOnlyMemory<byte>.Empty);
        await client.UntilAsync(item => client.Views().FirstOrDefault(view => view.Type == "comm_msg"));

        var echo = client.Views().Single(view => view.Type == "comm_msg");
        echo.Buffers.Count.ShouldBe(2);
        echo.Buffers[0].Span.SequenceEqual(buffer).ShouldBeTrue();
        echo.Buffers[1].Length.ShouldBe(0);
        cuts.ShouldBeGreaterThan(3);
        relay.CutAfter = null;
        await EndAsync(client, relay);
    }

    [Fact]
    public async Task Control_and_interrupts_overtake_a_flood_that_nobody_takes()
    {
        await using var relay = new RelayProcess();
        await using var client = new RelayConversation(new RelayLink(relay.AttachAsync, s_options, TimeProvider.System));
        await client.StartAsync();
        var flood = client.Execute("while True: print('x' * 100_000)");
        await client.UntilAsync(item => client.Text(flood).Length > 1_000_000 ? "flooding" : null);

        // Nobody takes for a while; the window is full when these go out.
        var info = client.Request("kernel_info_request", "{}", RelayChannel.Control);
        client.Link.SendCommand(new InterruptKernel());
        await client.EventAsync<KernelInterrupted>();
        var reply = await client.ReplyAsync(flood);

        reply.Content.GetProperty("ename").GetString().ShouldBe("KeyboardInterrupt");
        client.Views(info).ShouldContain(view => view.Type == "kernel_info_reply");
        (await client.RunAsync("print(7)")).ShouldBe("7\n");
        await EndAsync(client, relay);
    }

    [Fact]
    public async Task A_relay_that_was_killed_ends_the_link_with_that_reason()
    {
        await using var relay = new RelayProcess();
        await using var client = new RelayConversation(new RelayLink(relay.AttachAsync, s_options, TimeProvider.System));
        await client.StartAsync();

        using var kill = Process.Start("/bin/kill", ["-KILL", client.Link.LastHello!.RelayPid!.Value.ToString(CultureInfo.InvariantCulture)]);
        var end = await client.Link.Completion.WaitAsync(TimeSpan.FromSeconds(30));

        end.Reason.ShouldBe(RelayLinkEndReason.RelayReplaced);
        end.Message.ShouldContain("variables are lost");
    }

    [Fact]
    public async Task A_new_bridge_process_finds_the_kernel_but_nothing_that_was_meant_for_the_old_one()
    {
        await using var relay = new RelayProcess();
        await using (var old = new RelayConversation(new RelayLink(relay.AttachAsync, s_options, TimeProvider.System)))
        {
            await old.StartAsync();
            await old.RunAsync("x = 1");
            old.Execute("print('for the old one')");
        }

        await using var client = new RelayConversation(new RelayLink(relay.AttachAsync, s_options, TimeProvider.System));
        client.Link.SendCommand(new RestartKernel("session-2"));
        var restarted = await client.EventAsync<KernelStarted>();
        client.Link.LastHello!.KernelState.ShouldBe("running");
        restarted.Session.ShouldBe("session-2");
        client.Items.Clear();
        (await client.RunAsync("print('x' in globals())")).ShouldBe("False\n");
        await EndAsync(client, relay);
    }

    [Fact]
    public async Task A_kernel_that_dies_tells_how_after_all_its_output()
    {
        await using var relay = new RelayProcess();
        await using var client = new RelayConversation(new RelayLink(relay.AttachAsync, s_options, TimeProvider.System));
        await client.StartAsync();

        var id = client.Execute("import os\nprint('last', flush=True)\nos.kill(os.getpid(), 11)");
        var died = await client.EventAsync<KernelDied>();

        client.Text(id).ShouldBe("last\n");
        died.Ending.Signal.ShouldBe("SIGSEGV");
        died.Commanded.ShouldBeFalse();
        await EndAsync(client, relay);
    }

    /// <summary>Ends the daemon by command, and checks that it and the kernel are gone.</summary>
    private static async Task EndAsync(RelayConversation client, RelayProcess relay)
    {
        client.Link.SendCommand(new ExitRelay());
        using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(5));
        var pid = client.Link.LastHello!.RelayPid!.Value;
        while (Directory.Exists($"/proc/{pid}"))
        {
            await timer.WaitForNextTickAsync(patience.Token);
        }

        await client.Link.DisposeAsync();
        Directory.GetFiles(relay.Folder, "kernel-*").ShouldBeEmpty();
    }
}
