using System.Text;
using System.Text.Json;
using InterpreterKernel.Kernel.Configuration;
using InterpreterKernel.Kernel.Lifecycle;
using InterpreterKernel.Protocol.Jupyter;

namespace InterpreterKernel.Kernel.Tests.Magics;

/// <summary>Where magics stand in the order of things. What they do is tested end to end.</summary>
public sealed class BridgeMagicTests : IAsyncDisposable
{
    private const string Magic = "%sandbox timeout 5m\nx";
    private const string Wrong = "%sandbox frobnicate\nx";

    private readonly FakeTime _time = new();
    private readonly FakeClients _clients = new();
    private readonly FakeRemote _remote = new();
    private readonly Bridge _bridge;
    private readonly Task<BridgeEnd> _running;

    public BridgeMagicTests()
    {
        var log = new KernelLog(TextWriter.Null, verbose: false);
        _bridge = new Bridge(
            _clients,
            (_, _) => Task.FromResult<IRemoteKernel>(_remote),
            KernelInfoCache.Open(null, [], log),
            new Answers(new KernelMessages("ours", "kernel", TimeProvider.System)),
            new Settings(),
            _time,
            log);
        _running = _bridge.RunAsync();
    }

    public ValueTask DisposeAsync() => _bridge.DisposeAsync();

    [Fact]
    public async Task The_magic_is_run_here_and_the_rest_goes_on_as_the_same_request()
    {
        Cell("a", Magic);
        (await _clients.NextAsync(2)).ShouldBe(["Iopub status busy <a>", "Iopub stream Each cell of this kernel may run 5m. <a>"]);
        await Until(() => _remote.Requests.Count == 1);
        Code(0).ShouldBe("# %sandbox timeout 5m\nx");
        Finish("a");
        (await _clients.NextAsync(2)).ShouldBe(["Iopub status idle <a>", "Shell execute_reply ok <a>"], "the kernel's busy is not said twice");
    }

    [Fact]
    public async Task A_magic_waits_for_the_cell_before_it_and_what_is_behind_waits_for_the_magic()
    {
        Cell("before", "1");
        await Until(() => _remote.Requests.Count == 1);
        Cell("a", Magic);
        Send("complete_request", "c", "{}");
        Cell("behind", "2");
        _remote.Say(JupyterChannel.Iopub, "status", "before", """{"execution_state":"busy"}""");
        (await _clients.NextAsync(1)).ShouldBe(["Iopub status busy <before>"]);
        _remote.Requests.Count.ShouldBe(1);
        _clients.NothingMore().ShouldBeTrue();
        Finish("before");
        await Until(() => _remote.Requests.Count == 4);
        _remote.Requests.Select(r => r.MessageId).ShouldBe(["before", "a", "c", "behind"]);
    }

    [Fact]
    public async Task Control_does_not_wait()
    {
        Cell("before", "1");
        Cell("a", Magic);
        _bridge.OnClientMessage(JupyterChannel.Control, Messages.Request("debug_request", "d"));
        await Until(() => _remote.Requests.Count == 2);
        _remote.Received[^1].ShouldBe("Control debug_request d");
    }

    [Fact]
    public async Task A_magic_that_fails_is_an_error_of_the_cell_and_the_cells_behind_do_not_run()
    {
        Cell("before", "1");
        await Until(() => _remote.Requests.Count == 1);
        Cell("a", Wrong);
        Send("complete_request", "c", "{}");
        Cell("behind", Magic);
        Finish("before");
        var lines = await _clients.NextAsync(10);
        lines[3..7].ShouldBe(["Iopub status busy <a>", "Iopub error SandboxMagicError <a>", "Shell execute_reply SandboxMagicError <a>", "Iopub status idle <a>"]);
        lines[7..].ShouldBe(["Iopub status busy <behind>", "Shell execute_reply aborted <behind>", "Iopub status idle <behind>"]);
        await Until(() => _remote.Requests.Count == 2);
        _remote.Requests[1].MessageId.ShouldBe("c");
    }

    [Fact]
    public async Task Where_errors_are_allowed_the_cells_behind_run()
    {
        Cell("a", Wrong, stopOnError: false);
        Cell("behind", "2");
        await Until(() => _remote.Requests.Count == 1);
        _remote.Requests[0].MessageId.ShouldBe("behind");
    }

    [Theory]
    [InlineData("""{"status":"error","ename":"E"}""", true, 1)]
    [InlineData("""{"status":"error","ename":"E"}""", false, 2)]
    [InlineData("""{"status":"aborted"}""", false, 1)]
    [InlineData("""{"status":"ok"}""", true, 2)]
    public async Task A_cell_that_fails_in_the_kernel_stops_a_waiting_magic_as_it_stops_any_cell(string reply, bool stopOnError, int reached)
    {
        Cell("before", "1", stopOnError);
        await Until(() => _remote.Requests.Count == 1);
        Cell("a", Magic);
        _remote.Say(JupyterChannel.Iopub, "status", "before", """{"execution_state":"idle"}""");
        _remote.Say(JupyterChannel.Shell, "execute_reply", "before", reply);
        await Until(() => _clients.Sent.Any(s => s.Message.MessageType == "execute_reply" && s.Message.ParentMessageId == "a") || _remote.Requests.Count == 2);
        _remote.Requests.Count.ShouldBe(reached);
    }

    [Fact]
    public async Task A_usage_error_in_any_line_keeps_the_others_from_running()
    {
        Cell("a", "%sandbox timeout 5m\n%sandbox frobnicate");
        (await _clients.NextAsync(2)).ShouldBe(["Iopub status busy <a>", "Iopub error SandboxMagicError <a>"]);
    }

    [Fact]
    public async Task A_silent_cell_shows_nothing_of_its_magics()
    {
        Cell("a", Magic, silent: true);
        await Until(() => _remote.Requests.Count == 1);
        (await _clients.NextAsync(1)).ShouldBe(["Iopub status busy <a>"]);
        _clients.NothingMore().ShouldBeTrue();
    }

    [Fact]
    public async Task The_end_of_the_remote_answers_what_waits_for_its_turn()
    {
        Cell("before", "1");
        await Until(() => _remote.Requests.Count == 1);
        Cell("a", Magic);
        _remote.Say(new RemoteItem.Ended(new EndOfRemote(KernelDied: true, "KernelDied", "killed")));
        await _running;
        _clients.Sent.Where(s => s.Message.MessageType == "execute_reply").Select(s => s.Message.ParentMessageId).ShouldBe(["before", "a"]);
    }

    private void Finish(string cell)
    {
        _remote.Say(JupyterChannel.Iopub, "status", cell, """{"execution_state":"busy"}""");
        _remote.Say(JupyterChannel.Iopub, "status", cell, """{"execution_state":"idle"}""");
        _remote.Say(JupyterChannel.Shell, "execute_reply", cell, """{"status":"ok"}""");
    }

    private void Cell(string id, string code, bool stopOnError = true, bool silent = false) =>
        Send("execute_request", id, JsonSerializer.Serialize(new { code, silent, stop_on_error = stopOnError }));

    private void Send(string type, string id, string content) => _bridge.OnClientMessage(JupyterChannel.Shell, Messages.Request(type, id, content));

    private string Code(int request) => JsonDocument.Parse(Encoding.UTF8.GetString(_remote.Requests[request].Content.Span)).RootElement.GetProperty("code").GetString()!;

    private static async Task Until(Func<bool> condition)
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        while (!condition())
        {
            limit.Token.ThrowIfCancellationRequested();
            await Task.Yield();
        }
    }
}
