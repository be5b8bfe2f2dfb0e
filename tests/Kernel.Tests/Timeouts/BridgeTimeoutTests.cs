using System.Text;
using System.Text.Json;
using InterpreterKernel.Kernel.Configuration;
using InterpreterKernel.Kernel.Lifecycle;
using InterpreterKernel.Protocol.Jupyter;

namespace InterpreterKernel.Kernel.Tests.Timeouts;

/// <summary>The ladder as clients and the far end see it: limit 10 s, graces 2, 2 and 5 s.</summary>
public sealed class BridgeTimeoutTests : IAsyncDisposable
{
    private const string Interrupted = """{"ename":"KeyboardInterrupt","evalue":"","traceback":["line 3","KeyboardInterrupt: "]}""";
    private const string InterruptedReply = """{"status":"error","ename":"KeyboardInterrupt","evalue":"","traceback":["line 3"],"execution_count":7,"engine":"x"}""";

    private readonly FakeTime _time = new();
    private readonly FakeClients _clients = new();
    private readonly List<FakeRemote> _remotes = [];
    private readonly StringWriter _log = new();
    private Settings _settings = new() { CellTimeout = TimeSpan.FromSeconds(10) };
    private int _claims;
    private Bridge? _bridge;
    private Task<BridgeEnd>? _running;

    private FakeRemote Remote => _remotes[^1];

    public async ValueTask DisposeAsync()
    {
        if (_bridge is not null)
        {
            await _bridge.DisposeAsync();
        }
    }

    [Fact]
    public async Task A_cell_within_its_limit_is_left_alone()
    {
        await BeginAsync("a");
        Advance(9.9);
        await EndAsync("a");
        Advance(60);
        Remote.Stops.ShouldBeEmpty();
    }

    [Fact]
    public async Task The_clock_starts_when_the_kernel_says_that_the_cell_runs_not_while_it_waits_behind_another()
    {
        await BeginAsync("a");
        Client("b");
        Advance(9);
        await EndAsync("a");
        await BusyAsync("b");
        Advance(9.9);
        Remote.Stops.ShouldBeEmpty();
        Advance(0.2);
        Remote.Stops.ShouldBe(["interrupt b"]);
    }

    [Theory]
    [InlineData(2)]
    [InlineData(40)]
    public async Task A_timer_that_fires_early_stops_nothing_early_and_does_not_lose_the_limit(int milliseconds)
    {
        await BeginAsync("a");
        _time.Early = TimeSpan.FromMilliseconds(milliseconds);
        Advance(9.999);
        _time.Early.ShouldBe(TimeSpan.Zero, "it has fired");
        Remote.Stops.ShouldBeEmpty();
        Advance(0.001);
        Remote.Stops.ShouldBe(["interrupt a"]);
    }

    [Fact]
    public async Task The_clock_does_not_run_while_a_sandbox_is_awaited()
    {
        var connected = new TaskCompletionSource<IRemoteKernel>();
        Start(connected.Task);
        Client("a");
        Advance(100);
        connected.SetResult(New());
        await Until(() => Remote.Received.Count == 1);
        (await _clients.NextAsync(3)).Length.ShouldBe(3, "busy, the notice and its end");
        Busy("a");
        await Settled();
        Advance(9.9);
        Remote.Stops.ShouldBeEmpty();
    }

    [Fact]
    public async Task A_cell_that_keeps_its_kernel_from_saying_that_it_runs_is_timed_from_when_it_was_first_in_line()
    {
        await StartAsync("a");
        Advance(1.1);
        Advance(8.8);
        Remote.Stops.ShouldBeEmpty();
        Advance(0.2);
        Remote.Stops.ShouldBe(["interrupt a"]);
    }

    [Fact]
    public async Task An_interrupt_that_stops_the_cell_is_told_as_a_timeout_and_the_kernels_traceback_stays()
    {
        await BeginAsync("a");
        Advance(10);
        await TakenAsync("a");
        Advance(0.5);
        Remote.Say(JupyterChannel.Iopub, "error", "a", Interrupted);
        Remote.Say(JupyterChannel.Iopub, "status", "a", """{"execution_state":"idle"}""");
        Remote.Say(JupyterChannel.Shell, "execute_reply", "a", InterruptedReply);
        (await _clients.NextAsync(3)).ShouldBe(["Iopub error CellTimeout <a>", "Iopub status idle <a>", "Shell execute_reply CellTimeout <a>"]);
        var (error, reply) = (Content(^3), Content(^1));
        var value = error.GetProperty("evalue").GetString()!;
        value.ShouldContain("10.5 s");
        value.ShouldContain("10s (cellTimeout)");
        value.ShouldContain("variables and files are kept");
        value.ShouldContain("rung 1 of 4");
        error.GetProperty("traceback").EnumerateArray().Select(l => l.GetString()!).ShouldBe(
            ["line 3", "KeyboardInterrupt: ", $"\u001b[0;31mCellTimeout\u001b[0m: {value}"]);
        reply.GetProperty("status").GetString().ShouldBe("error");
        reply.GetProperty("evalue").GetString().ShouldBe(value);
        reply.GetProperty("execution_count").GetInt32().ShouldBe(7);
        reply.GetProperty("engine").GetString().ShouldBe("x");
        Advance(60);
        Remote.Stops.ShouldBe(["interrupt a"]);
    }

    [Fact]
    public async Task The_second_interrupt_comes_when_the_first_did_not_help()
    {
        await BeginAsync("a");
        Advance(10);
        await TakenAsync("a");
        Advance(1.9);
        Remote.Stops.Count.ShouldBe(1);
        Advance(0.2);
        Remote.Stops.ShouldBe(["interrupt a", "interrupt a"]);
        await TakenAsync("a");
        await FinishAsync("a");
        Content(^1).GetProperty("evalue").GetString()!.ShouldContain("rung 2 of 4");
        Advance(60);
        Remote.Stops.Count.ShouldBe(2);
    }

    [Fact]
    public async Task A_cell_that_catches_the_interrupt_and_ends_well_has_timed_out_all_the_same()
    {
        await BeginAsync("a");
        Advance(10);
        await TakenAsync("a");
        await EndAsync("a", """{"status":"ok","execution_count":3}""", lines: 3);
        _clients.Sent[^3].Message.MessageType.ShouldBe("error", "before idle, behind which nobody looks");
        var reply = Content(^1);
        reply.GetProperty("status").GetString().ShouldBe("error");
        reply.GetProperty("evalue").GetString()!.ShouldContain("caught the interrupt");
        reply.GetProperty("execution_count").GetInt32().ShouldBe(3);
    }

    [Fact]
    public async Task A_kernel_with_a_status_of_its_own_for_interrupted_cells_is_told_the_same_way()
    {
        await BeginAsync("a");
        Advance(10);
        await TakenAsync("a");
        await EndAsync("a", """{"status":"abort"}""", lines: 3);
        Content(^1).GetProperty("status").GetString().ShouldBe("error");
    }

    [Fact]
    public async Task A_cell_that_had_ended_when_the_interrupt_came_has_kept_its_limit()
    {
        await BeginAsync("a");
        Advance(10);
        await TakenAsync("a", delivered: false);
        Advance(60);
        await EndAsync("a");
        Content(^1).GetProperty("status").GetString().ShouldBe("ok");
        Remote.Stops.ShouldBe(["interrupt a"]);
    }

    [Fact]
    public async Task Interrupts_that_do_not_help_end_in_a_new_kernel_process_and_everybody_is_answered_once()
    {
        await BeginAsync("a");
        Client("behind");
        Client("c", "complete_request");
        Client("m", "comm_msg");
        await ClimbToRestartAsync("a");
        Client("during");
        Client("k", "comm_info_request");
        Remote.Say(JupyterChannel.Iopub, "error", "a", Interrupted);
        Remote.Say(JupyterChannel.Iopub, "status", "a", """{"execution_state":"idle"}""");
        Remote.Say(new RemoteItem.Killed());
        Remote.Say(new RemoteItem.Restarted(Messages.KernelInfo));
        (await _clients.NextAsync(11)).ShouldBe(
        [
            "Iopub error CellTimeout <a>", "Shell execute_reply CellTimeout <a>", "Iopub status idle <a>",
            "Shell execute_reply aborted <behind>", "Iopub status idle <behind>",
            "Shell complete_reply KernelRestarted <c>", "Iopub status idle <c>",
            "Iopub status idle <m>",
            "Iopub status busy <during>", "Shell execute_reply aborted <during>", "Iopub status idle <during>",
        ]);
        var error = _clients.Sent.Last(s => s.Message.MessageType == "error").Message;
        Encoding.UTF8.GetString(error.Content.Span).ShouldContain("variables are lost (the cells behind it were not run), files are kept (rung 3 of 4)");
        Encoding.UTF8.GetString(error.Content.Span).ShouldContain("14.0 s");
        await Until(() => Remote.Received.Contains("Shell comm_info_request k"));
        _running!.IsCompleted.ShouldBeFalse();
        Client("next");
        Remote.Received[^1].ShouldBe("Shell execute_request next");
        var session = _clients.Sent[^1].Message.Session;
        Client("i", "interrupt_request", JupyterChannel.Control);
        (await _clients.NextAsync(1)).ShouldBe(["Iopub status busy <i>"]);
        _clients.Sent[^1].Message.Session.ShouldNotBe(session, "another kernel process has another session");
    }

    [Fact]
    public async Task The_number_of_the_cell_is_in_the_reply_that_we_make()
    {
        await StartAsync("a");
        Remote.Say(JupyterChannel.Iopub, "execute_input", "a", """{"code":"while True: pass","execution_count":12}""");
        (await _clients.NextAsync(2))[1].ShouldStartWith("Iopub execute_input");
        await Settled();
        await ClimbToRestartAsync("a");
        Remote.Say(new RemoteItem.Restarted(Messages.KernelInfo));
        await _clients.NextAsync(3);
        Content(^2).GetProperty("execution_count").GetInt32().ShouldBe(12);
    }

    [Fact]
    public async Task Cells_behind_go_on_without_their_variables_only_when_the_user_wants_that()
    {
        _settings = _settings with { ContinueAfterTimeout = true };
        await BeginAsync("a");
        Client("behind");
        await ClimbToRestartAsync("a");
        Client("during");
        Remote.Received.Clear();
        Remote.Say(new RemoteItem.Restarted(Messages.KernelInfo));
        (await _clients.NextAsync(3))[1].ShouldBe("Shell execute_reply CellTimeout <a>");
        await Until(() => Remote.Received.Count == 2);
        Remote.Received.ShouldBe(["Shell execute_request behind", "Shell execute_request during"]);
        await BusyAsync("behind");
        Advance(10.1);
        Remote.Stops[^1].ShouldBe("interrupt behind", "it has a clock of its own");
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_process_that_can_not_be_killed_or_started_again_costs_the_sandbox(bool killed)
    {
        await BeginAsync("a");
        Client("behind");
        await ClimbToRestartAsync("a");
        var first = Remote;
        first.EndsWhenReleased = true;
        if (killed)
        {
            first.Say(new RemoteItem.Killed());
            await Settled();
            Advance(59);
            first.GivenUp.ShouldBeNull("a start has its own limit");
            first.Say(new RemoteItem.RestartFailed("no memory"));
        }
        else
        {
            Advance(5.1);
        }

        (await _clients.NextAsync(5)).ShouldBe(
        [
            "Iopub error CellTimeout <a>", "Shell execute_reply CellTimeout <a>", "Iopub status idle <a>",
            "Shell execute_reply aborted <behind>", "Iopub status idle <behind>",
        ]);
        var error = Encoding.UTF8.GetString(_clients.Sent.Last(s => s.Message.MessageType == "error").Message.Content.Span);
        error.ShouldContain("rung 4 of 4");
        error.ShouldContain("variables and files are lost");
        first.GivenUp.ShouldBe("released");
        await Until(() => first.Disposed);
        _running!.IsCompleted.ShouldBeFalse();
        Client("next");
        await Until(() => _remotes.Count == 2 && Remote.Received.Count == 1);
        Remote.Received.ShouldBe(["Shell execute_request next"]);
    }

    [Fact]
    public async Task A_start_that_takes_too_long_costs_the_sandbox()
    {
        await BeginAsync("a");
        await ClimbToRestartAsync("a");
        Remote.Say(new RemoteItem.Killed());
        await Settled();
        Advance(60.1);
        (await _clients.NextAsync(3))[1].ShouldBe("Shell execute_reply CellTimeout <a>");
        Remote.GivenUp.ShouldBe("released");
    }

    [Fact]
    public async Task A_slow_connection_costs_no_variables_because_graces_count_from_delivery()
    {
        await BeginAsync("a");
        Remote.IsReachable = false;
        Advance(10);
        Advance(29);
        Remote.Stops.ShouldBe(["interrupt a"], "it is kept until it can be delivered");
        await TakenAsync("a");
        Advance(1.9);
        Remote.Stops.Count.ShouldBe(1);
        await FinishAsync("a");
        Content(^1).GetProperty("evalue").GetString()!.ShouldContain("rung 1 of 4");
    }

    [Fact]
    public async Task A_relay_that_confirms_nothing_for_half_a_minute_costs_the_sandbox()
    {
        await BeginAsync("a");
        Advance(10);
        Advance(30.1);
        (await _clients.NextAsync(3))[1].ShouldBe("Shell execute_reply CellTimeout <a>");
        Content(^2).GetProperty("evalue").GetString()!.ShouldContain("rung 4 of 4");
        Remote.GivenUp.ShouldBe("released");
    }

    [Fact]
    public async Task A_reply_that_the_kernel_loses_is_made_up_for()
    {
        await BeginAsync("a");
        Advance(10);
        await TakenAsync("a");
        Remote.Say(JupyterChannel.Iopub, "status", "a", """{"execution_state":"idle"}""");
        await Settled();
        Advance(2.1);
        (await _clients.NextAsync(3)).ShouldBe(["Iopub error CellTimeout <a>", "Shell execute_reply CellTimeout <a>", "Iopub status idle <a>"]);
        Remote.Stops.ShouldBe(["interrupt a"]);
        _clients.NothingMore().ShouldBeTrue();
    }

    [Fact]
    public async Task A_users_interrupt_of_a_cell_with_a_limit_is_a_users_interrupt()
    {
        await BeginAsync("a");
        _bridge!.OnInterrupt();
        Remote.Say(new RemoteItem.Interrupted());
        await FinishAsync("a", "KeyboardInterrupt");
    }

    [Fact]
    public async Task Metadata_and_magic_set_the_limit_of_their_cell()
    {
        await StartAsync("a", "%%timeout 3s\nx", """{"timeout":1}""");
        Code(Remote.Requests[0]).ShouldBe("# %%timeout 3s\nx");
        await BusyAsync("a");
        Advance(2.9);
        Remote.Stops.ShouldBeEmpty();
        Advance(0.2);
        await TakenAsync("a");
        await FinishAsync("a");
        Content(^1).GetProperty("evalue").GetString()!.ShouldContain("3s (%%timeout)");
        Client("b", metadata: """{"timeout":1}""");
        await BusyAsync("b");
        Advance(1.1);
        Remote.Stops[^1].ShouldBe("interrupt b");
    }

    [Fact]
    public async Task A_magic_that_is_no_duration_is_told_in_its_cell()
    {
        await StartAsync("a", "%%timeout soon\nx");
        Code(Remote.Requests[0]).ShouldBe("%%timeout soon\nx");
        Busy("a");
        (await _clients.NextAsync(2))[1].ShouldStartWith("Iopub stream %%timeout: 'soon'");
    }

    [Fact]
    public async Task The_notebooks_time_is_what_its_cells_run_and_when_it_is_used_up_no_more_are_run()
    {
        _settings = new Settings { NotebookTimeout = TimeSpan.FromSeconds(10) };
        await BeginAsync("a");
        Advance(6);
        await EndAsync("a");
        Advance(3600);
        Client("b");
        await BusyAsync("b");
        Advance(3.9);
        Remote.Stops.ShouldBeEmpty();
        Advance(0.2);
        await TakenAsync("b");
        await FinishAsync("b");
        Content(^1).GetProperty("evalue").GetString()!.ShouldContain("all cells together may run 10s (notebookTimeout)");
        Client("c");
        (await _clients.NextAsync(4)).ShouldBe(
            ["Iopub status busy <c>", "Iopub error CellTimeout <c>", "Shell execute_reply CellTimeout <c>", "Iopub status idle <c>"]);
        Content(^3).GetProperty("evalue").GetString()!.ShouldContain("was not run");
        Remote.Received.Count.ShouldBe(2);
    }

    [Fact]
    public async Task The_death_of_the_kernel_on_the_ladder_is_a_death()
    {
        await BeginAsync("a");
        await ClimbToRestartAsync("a");
        Remote.Say(new RemoteItem.Ended(new EndOfRemote(KernelDied: false, "SandboxKilled", "gone")));
        (await _clients.NextAsync(3))[1].ShouldBe("Shell execute_reply SandboxKilled <a>");
        (await _running!).Reason.ShouldBe(EndReason.SandboxLost);
        _log.ToString().ShouldContain("SandboxKilled: gone");
    }

    [Fact]
    public async Task A_cell_that_waits_for_the_new_kernel_can_be_interrupted_and_the_sandbox_stays()
    {
        await BeginAsync("a");
        await ClimbToRestartAsync("a");
        Client("during");
        _bridge!.OnInterrupt();
        (await _clients.NextAsync(4))[2].ShouldBe("Shell execute_reply KeyboardInterrupt <during>");
        Remote.Say(new RemoteItem.Restarted(Messages.KernelInfo));
        (await _clients.NextAsync(3))[1].ShouldBe("Shell execute_reply CellTimeout <a>");
        Remote.GivenUp.ShouldBeNull();
        Remote.Disposed.ShouldBeFalse();
    }

    private static async Task Until(Func<bool> condition)
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        while (!condition())
        {
            limit.Token.ThrowIfCancellationRequested();
            await Task.Yield();
        }
    }

    private static string Code(JupyterMessage message)
    {
        using var document = JsonDocument.Parse(message.Content);
        return document.RootElement.GetProperty("code").GetString()!;
    }

    private FakeRemote New()
    {
        _remotes.Add(new FakeRemote());
        return Remote;
    }

    private void Start(Task<IRemoteKernel> first)
    {
        var kept = KernelInfoCache.Open(null, [], new KernelLog(TextWriter.Null, verbose: false));
        _bridge = new Bridge(
            _clients,
            (_, _) => Interlocked.Increment(ref _claims) == 1 ? first : Task.FromResult<IRemoteKernel>(New()),
            kept,
            new Answers(new KernelMessages("ours", "kernel", _time)),
            _settings,
            _time,
            new KernelLog(_log, verbose: false));
        _running = _bridge.RunAsync();
    }

    private async Task StartAsync(string id, string code = "x", string metadata = "{}")
    {
        Start(Task.FromResult<IRemoteKernel>(New()));
        Client(id, code: code, metadata: metadata);
        await Until(() => _remotes.Count == 1 && Remote.Received.Count == 1);
    }

    /// <summary>A first cell that runs.</summary>
    private async Task BeginAsync(string id)
    {
        await StartAsync(id);
        await BusyAsync(id);
    }

    /// <summary>Up to and with the third rung.</summary>
    private async Task ClimbToRestartAsync(string id)
    {
        Advance(10);
        await TakenAsync(id);
        Advance(2);
        await TakenAsync(id);
        Advance(2);
        await Until(() => Remote.Stops.Count == 3);
        Remote.Stops.ShouldBe([$"interrupt {id}", $"interrupt {id}", "restart"]);
    }

    private void Client(string id, string type = "execute_request", JupyterChannel channel = JupyterChannel.Shell, string code = "x", string metadata = "{}") =>
        _bridge!.OnClientMessage(channel, new JupyterMessage
        {
            Identities = ["client"u8.ToArray()],
            Header = Messages.Request(type, id).Header,
            Metadata = Encoding.UTF8.GetBytes(metadata),
            Content = JsonSerializer.SerializeToUtf8Bytes(new { code }),
        });

    private void Busy(string id) => Remote.Say(JupyterChannel.Iopub, "status", id, """{"execution_state":"busy"}""");

    private async Task BusyAsync(string id)
    {
        Busy(id);
        (await _clients.NextAsync(1)).ShouldBe([$"Iopub status busy <{id}>"]);
        await Settled();
    }

    /// <summary>The relay's word about an interrupt, taken in before this returns.</summary>
    private async Task TakenAsync(string id, bool delivered = true)
    {
        Remote.Say(new RemoteItem.Interrupted(id, delivered));
        await Settled();
    }

    /// <summary>What was said before is dealt with once a message said after it has passed.</summary>
    private async Task Settled()
    {
        var count = _clients.Sent.Count;
        Remote.Say(JupyterChannel.Iopub, "stream", "", """{"name":"stdout","text":"mark"}""");
        await Until(() => _clients.Sent.Count > count);
        await _clients.NextAsync(1);
    }

    private async Task EndAsync(string id, string reply = """{"status":"ok"}""", int lines = 2)
    {
        Remote.Say(JupyterChannel.Iopub, "status", id, """{"execution_state":"idle"}""");
        Remote.Say(JupyterChannel.Shell, "execute_reply", id, reply);
        await _clients.NextAsync(lines);
    }

    private async Task FinishAsync(string id, string expected = "CellTimeout")
    {
        Remote.Say(JupyterChannel.Iopub, "error", id, Interrupted);
        await EndAsync(id, InterruptedReply, lines: 2);
        (await _clients.NextAsync(1)).ShouldBe([$"Shell execute_reply {expected} <{id}>"]);
    }

    private void Advance(double seconds) => _time.Advance(TimeSpan.FromSeconds(seconds));

    private JsonElement Content(Index index) => JsonDocument.Parse(_clients.Sent[index].Message.Content).RootElement;
}
