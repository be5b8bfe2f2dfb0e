using InterpreterKernel.Kernel.Configuration;
using InterpreterKernel.Kernel.Lifecycle;
using InterpreterKernel.Protocol.Jupyter;

namespace InterpreterKernel.Kernel.Tests;

public sealed class BridgeTests : IAsyncDisposable
{
    private readonly FakeTime _time = new();
    private readonly FakeClients _clients = new();
    private readonly FakeRemote _remote = new();
    private readonly TaskCompletionSource<IRemoteKernel> _connected = new();
    private readonly KernelInfoCache _nothingKept = KernelInfoCache.Open(null, [], new KernelLog(TextWriter.Null, verbose: false));
    private Action<string> _waiting = _ => { };
    private CancellationToken _claim;
    private int _claims;
    private Bridge? _bridge;
    private Task<BridgeEnd>? _running;

    public async ValueTask DisposeAsync()
    {
        if (_bridge is not null)
        {
            await _bridge.DisposeAsync();
        }
    }

    [Fact]
    public async Task Requests_wait_for_the_sandbox_and_go_in_in_their_order()
    {
        Start();
        Client("execute_request", "a");
        Client("execute_request", "b");
        await ArriveAsync();
        Client("complete_request", "c");
        _remote.Received.ShouldBe(["Shell execute_request a", "Shell execute_request b", "Shell complete_request c"]);
        _claims.ShouldBe(1);
    }

    [Fact]
    public async Task Nothing_is_claimed_before_a_request_needs_it()
    {
        _nothingKept.Learn(Messages.KernelInfo);
        Start();
        Client("kernel_info_request", "k");
        (await _clients.NextAsync(3)).ShouldBe(
            ["Iopub status busy <k>", "Shell kernel_info_reply ok <k>", "Iopub status idle <k>"]);
        _claims.ShouldBe(0);
    }

    [Fact]
    public async Task Without_a_kept_kernel_info_each_request_for_it_is_answered_once_the_kernel_is_up_and_none_reaches_it()
    {
        Start();
        Client("kernel_info_request", "k1");
        Client("kernel_info_request", "k2", JupyterChannel.Control);
        await ArriveAsync();
        (await _clients.NextAsync(6)).ShouldBe(
        [
            "Iopub status busy <k1>", "Shell kernel_info_reply ok <k1>", "Iopub status idle <k1>",
            "Iopub status busy <k2>", "Control kernel_info_reply ok <k2>", "Iopub status idle <k2>",
        ]);
        _remote.Received.ShouldBeEmpty();
    }

    [Fact]
    public async Task A_kernel_info_behind_a_waiting_cell_keeps_its_place()
    {
        _nothingKept.Learn(Messages.KernelInfo);
        Start();
        Client("execute_request", "a");
        Client("kernel_info_request", "k");
        (await _clients.NextAsync(1)).ShouldBe(["Iopub status busy <a>"]);
        Client("kernel_info_request", "c", JupyterChannel.Control);
        (await _clients.NextAsync(3))[1].ShouldBe("Control kernel_info_reply ok <c>");
        _connected.SetResult(_remote);
        await Until(() => _remote.Received.Count == 2);
        _remote.Received.ShouldBe(["Shell execute_request a", "Shell kernel_info_request k"]);
    }

    [Fact]
    public async Task A_kernel_info_answer_waits_until_somebody_listens_but_not_for_ever()
    {
        var clients = new FakeClients(subscribed: false);
        _nothingKept.Learn(Messages.KernelInfo);
        await using var bridge = new Bridge(clients, Connect, _nothingKept, Answers(), new Settings(), _time, Log());
        bridge.OnClientMessage(JupyterChannel.Shell, Messages.Request("kernel_info_request", "k"));
        clients.NothingMore().ShouldBeTrue();
        _time.Advance(TimeSpan.FromSeconds(1));
        (await clients.NextAsync(3))[1].ShouldBe("Shell kernel_info_reply ok <k>");
    }

    [Fact]
    public async Task Messages_of_the_kernel_pass_with_the_very_bytes_they_came_in()
    {
        await RunCellAsync("a");
        _remote.Say(JupyterChannel.Iopub, "display_data", "a", """{ "data" : {"text/plain":"é"} , "metadata":{}}""");
        await _clients.NextAsync(1);
        var sent = _clients.Sent[^1].Message;
        sent.Content.ToArray().ShouldBe("""{ "data" : {"text/plain":"é"} , "metadata":{}}"""u8.ToArray());
    }

    [Fact]
    public async Task The_death_of_the_kernel_ends_every_open_request_once_with_the_reason_and_then_the_process()
    {
        await RunCellAsync("done");
        _remote.Say(JupyterChannel.Iopub, "status", "done", """{"execution_state":"idle"}""");
        _remote.Say(JupyterChannel.Shell, "execute_reply", "done", """{"status":"ok"}""");
        await _clients.NextAsync(2);
        Client("execute_request", "running");
        Client("comm_msg", "comm");
        Client("complete_request", "queued");
        _remote.Say(new RemoteItem.Ended(new EndOfRemote(KernelDied: true, "KernelDied", "killed by signal 9")));
        (await _clients.NextAsync(6)).ShouldBe(
        [
            "Iopub error KernelDied <running>", "Shell execute_reply KernelDied <running>", "Iopub status idle <running>",
            "Iopub status idle <comm>", "Shell complete_reply KernelDied <queued>", "Iopub status idle <queued>",
        ]);
        var end = await _running!;
        end.Reason.ShouldBe(EndReason.KernelDied);
        end.ExitCode.ShouldNotBe(0);
        _clients.NothingMore().ShouldBeTrue();
    }

    [Fact]
    public async Task A_request_whose_idle_has_passed_gets_only_its_reply_when_the_kernel_dies()
    {
        await RunCellAsync("a");
        _remote.Say(JupyterChannel.Iopub, "status", "a", """{"execution_state":"idle"}""");
        _remote.Say(new RemoteItem.Ended(new EndOfRemote(KernelDied: false, "SandboxLost", "gone")));
        (await _clients.NextAsync(3)).ShouldBe(["Iopub status idle <a>", "Iopub error SandboxLost <a>", "Shell execute_reply SandboxLost <a>"]);
        (await _running!).Reason.ShouldBe(EndReason.SandboxLost);
    }

    [Fact]
    public async Task A_sandbox_that_can_not_be_had_is_told_in_the_cell_and_the_next_cell_tries_again()
    {
        Start();
        Client("execute_request", "a");
        _connected.SetException(new RemoteUnavailableException("NoRuntime", "runc is missing"));
        (await _clients.NextAsync(4)).ShouldBe(
            ["Iopub status busy <a>", "Iopub error NoRuntime <a>", "Shell execute_reply NoRuntime <a>", "Iopub status idle <a>"]);
        _running!.IsCompleted.ShouldBeFalse();
        Client("execute_request", "b");
        (await _clients.NextAsync(4))[2].ShouldBe("Shell execute_reply NoRuntime <b>");
        _claims.ShouldBe(2);
    }

    [Fact]
    public async Task A_client_gets_kernel_info_even_when_no_sandbox_can_be_had()
    {
        Start();
        Client("kernel_info_request", "k");
        _connected.SetException(new RemoteUnavailableException("NoRuntime", "runc is missing"));
        (await _clients.NextAsync(3))[1].ShouldBe("Shell kernel_info_reply ok <k>");
    }

    [Fact]
    public async Task Whether_code_is_complete_is_unknown_before_a_console_gives_up_waiting_for_the_kernel()
    {
        Start();
        Client("is_complete_request", "i");
        await Until(() => _claims == 1);
        _time.Advance(TimeSpan.FromMilliseconds(799));
        _clients.NothingMore().ShouldBeTrue();
        _time.Advance(TimeSpan.FromMilliseconds(1));
        (await _clients.NextAsync(3)).ShouldBe(["Iopub status busy <i>", "Shell is_complete_reply unknown <i>", "Iopub status idle <i>"]);
        Client("execute_request", "a");
        await ArriveAsync();
        _remote.Received.ShouldBe(["Shell execute_request a"]);
    }

    [Fact]
    public async Task Whether_code_is_complete_is_for_the_kernel_to_say_where_it_comes_in_time_or_a_cell_is_before()
    {
        Start();
        Client("execute_request", "a");
        Client("is_complete_request", "i");
        (await _clients.NextAsync(1)).ShouldBe(["Iopub status busy <a>"]);
        _time.Advance(TimeSpan.FromMilliseconds(800));
        await ArriveAsync();
        await Until(() => _remote.Received.Count == 2);
        _time.Advance(TimeSpan.FromSeconds(5));
        _remote.Received.ShouldBe(["Shell execute_request a", "Shell is_complete_request i"]);
        _clients.NothingMore().ShouldBeTrue();
    }

    [Fact]
    public async Task A_wait_of_under_a_second_leaves_no_trace_but_that_the_cell_is_busy()
    {
        Start();
        Client("execute_request", "a");
        (await _clients.NextAsync(1)).ShouldBe(["Iopub status busy <a>"]);
        await Until(() => _claims == 1);
        _waiting("Place 2 in the queue");
        _time.Advance(TimeSpan.FromMilliseconds(999));
        await ArriveAsync();
        _clients.NothingMore().ShouldBeTrue();
    }

    [Fact]
    public async Task A_longer_wait_is_told_in_the_cell_and_cleared_when_it_is_over()
    {
        Start();
        Client("execute_request", "a");
        await Until(() => _claims == 1);
        _waiting("Place 2 in the queue");
        _time.Advance(TimeSpan.FromSeconds(1));
        _waiting("Place 1 in the queue");
        _waiting("Place 1 in the queue");
        await ArriveAsync();
        (await _clients.NextAsync(4)).ShouldBe(
        [
            "Iopub status busy <a>", "Iopub stream Place 2 in the queue <a>", "Iopub stream Place 1 in the queue <a>", "Iopub clear_output  <a>",
        ]);
        _remote.Say(JupyterChannel.Iopub, "status", "a", """{"execution_state":"busy"}""");
        _remote.Say(JupyterChannel.Iopub, "status", "a", """{"execution_state":"idle"}""");
        (await _clients.NextAsync(1)).ShouldBe(["Iopub status idle <a>"], "busy is said once");
        _clients.NothingMore().ShouldBeTrue();
    }

    [Fact]
    public async Task A_waiting_cell_can_be_interrupted_and_gives_its_place_up()
    {
        Start();
        Client("execute_request", "a");
        await Until(() => _claims == 1);
        Client("interrupt_request", "i", JupyterChannel.Control);
        (await _clients.NextAsync(7)).ShouldBe(
        [
            "Iopub status busy <a>", "Iopub status busy <i>", "Control interrupt_reply ok <i>", "Iopub status idle <i>",
            "Iopub error KeyboardInterrupt <a>", "Shell execute_reply KeyboardInterrupt <a>", "Iopub status idle <a>",
        ]);
        _claim.IsCancellationRequested.ShouldBeTrue();
    }

    [Fact]
    public async Task An_interrupt_is_answered_when_the_kernel_took_it()
    {
        await RunCellAsync("a");
        Client("interrupt_request", "i", JupyterChannel.Control);
        (await _clients.NextAsync(1)).ShouldBe(["Iopub status busy <i>"]);
        _remote.Interrupts.ShouldBe(1);
        _clients.NothingMore().ShouldBeTrue();
        _remote.Say(new RemoteItem.Interrupted());
        (await _clients.NextAsync(2)).ShouldBe(["Control interrupt_reply ok <i>", "Iopub status idle <i>"]);
    }

    [Fact]
    public async Task A_signal_interrupts_as_a_message_does()
    {
        await RunCellAsync("a");
        _bridge!.OnInterrupt();
        _remote.Interrupts.ShouldBe(1);
    }

    [Theory]
    [InlineData(JupyterChannel.Control)]
    [InlineData(JupyterChannel.Shell)]
    public async Task A_shutdown_is_answered_and_frees_the_sandbox(JupyterChannel channel)
    {
        await RunCellAsync("a");
        Client("shutdown_request", "s", channel, """{"restart":false}""");
        (await _clients.NextAsync(4)).ShouldBe(
            ["Iopub status busy <s>", $"{channel} shutdown_reply ok <s>", "Iopub shutdown_reply ok <s>", "Iopub status idle <s>"]);
        (await _running!).ExitCode.ShouldBe(0);
        _remote.GivenUp.ShouldBe("released");
        await Until(() => _remote.Disposed);
    }

    [Fact]
    public async Task A_restart_leaves_the_sandbox_to_the_next_process()
    {
        await RunCellAsync("a");
        Client("shutdown_request", "s", JupyterChannel.Control, """{"restart":true}""");
        (await _running!).Reason.ShouldBe(EndReason.Restart);
        _remote.GivenUp.ShouldBe("handed over");
    }

    [Fact]
    public async Task The_first_reason_for_ending_wins()
    {
        await RunCellAsync("a");
        _bridge!.End(new BridgeEnd(EndReason.ParentGone, "first"));
        _bridge.End(new BridgeEnd(EndReason.Terminated, "second"));
        (await _running!).Message.ShouldBe("first");
        _remote.GivenUp.ShouldBe("released");
    }

    [Fact]
    public async Task Messages_made_here_carry_the_session_that_the_kernel_turned_out_to_have()
    {
        await RunCellAsync("a");
        _remote.Say(JupyterChannel.Shell, "execute_reply", "a", """{"status":"ok"}""");
        await _clients.NextAsync(1);
        Client("interrupt_request", "i", JupyterChannel.Control);
        await _clients.NextAsync(1);
        _clients.Sent[^1].Message.Session.ShouldBe("kernel");
    }

    [Fact]
    public async Task The_kernels_own_starting_does_not_fall_into_the_first_cell()
    {
        await RunCellAsync("a");
        _remote.Say(JupyterChannel.Iopub, "status", "", """{"execution_state":"starting"}""");
        _remote.Say(JupyterChannel.Iopub, "status", "a", """{"execution_state":"idle"}""");
        await _clients.NextAsync(1);
        _clients.Sent.Count(s => s.Message.MessageType == "status" && !Kernel.Answers.IsIdle(s.Message)).ShouldBe(2, "our own starting, and the busy of the cell that waited");
    }

    [Fact]
    public async Task A_notice_goes_to_the_cell_that_runs()
    {
        await RunCellAsync("a");
        _remote.Tell("the network is away");
        (await _clients.NextAsync(1)).ShouldBe(["Iopub stream the network is away <a>"]);
    }

    [Theory]
    [InlineData("")]
    [InlineData("{")]
    [InlineData("[]")]
    [InlineData("""{"restart":"yes"}""")]
    [InlineData("""{"restart":{"a":[1]}}""")]
    [InlineData("""{"restart":1}""")]
    public void Nonsense_in_a_shutdown_request_means_no_restart(string content) =>
        Kernel.Answers.WantsRestart(Messages.Request("shutdown_request", "s", content)).ShouldBeFalse();

    private static Answers Answers() => new(new KernelMessages("ours", "kernel", TimeProvider.System));

    private static KernelLog Log() => new(TextWriter.Null, verbose: false);

    private static async Task Until(Func<bool> condition)
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        while (!condition())
        {
            limit.Token.ThrowIfCancellationRequested();
            await Task.Yield();
        }
    }

    private void Start()
    {
        _bridge = new Bridge(_clients, Connect, _nothingKept, Answers(), new Settings(), _time, Log());
        _running = _bridge.RunAsync();
    }

    private Task<IRemoteKernel> Connect(Action<string> waiting, CancellationToken claim)
    {
        (_waiting, _claim) = (waiting, claim);
        Interlocked.Increment(ref _claims);
        return _connected.Task.WaitAsync(claim);
    }

    private async Task ArriveAsync()
    {
        var count = _remote.Received.Count;
        _connected.SetResult(_remote);
        _remote.Say(new RemoteItem.Interrupted());

        // The kernel's own word that it has begun to read: a kernel_info answered by it or a request that reached it.
        await Until(() => _remote.Received.Count > count || _clients.Sent.Any(s => s.Message.MessageType == "kernel_info_reply"));
    }

    private async Task RunCellAsync(string id)
    {
        Start();
        Client("execute_request", id);
        (await _clients.NextAsync(1)).ShouldBe([$"Iopub status busy <{id}>"], "it waits already");
        await ArriveAsync();
    }

    private void Client(string type, string id, JupyterChannel channel = JupyterChannel.Shell, string content = "{}") =>
        _bridge!.OnClientMessage(channel, Messages.Request(type, id, content));
}
