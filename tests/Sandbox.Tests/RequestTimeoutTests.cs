using InterpreterKernel.Sandbox.Tests.Support;

namespace InterpreterKernel.Sandbox.Tests;

/// <summary>The request timeout and the caller's token, against servers that let us wait.</summary>
public sealed class RequestTimeoutTests
{
    private static readonly Func<SandboxConnection, CancellationToken, Task>[] s_calls =
    [
        (c, ct) => Sandbox.GetInfoAsync("x", c, ct),
        (c, ct) => Sandbox.KillAsync("x", c, ct),
        (c, ct) => Sandbox.ListAsync(c, null, ct).ToListAsync(ct).AsTask(),
        (c, ct) => Sandbox.ConnectAsync("x", c, null, ct),
        (c, ct) => Sandbox.Attach("x", null, c).SetTimeoutAsync(TimeSpan.FromSeconds(1), ct),
        (c, ct) => Sandbox.Attach("x", null, c).IsRunningAsync(ct),
        (c, ct) => Sandbox.Attach("x", null, c).Commands.StartAsync(new ProcessStart("x", []), ct),
        (c, ct) => Sandbox.Attach("x", null, c).Commands.ConnectAsync(1, ct),
        (c, ct) => Sandbox.Attach("x", null, c).Commands.RunAsync("x", null, ct),
        (c, ct) => Sandbox.Attach("x", null, c).Commands.ListAsync(ct),
        (c, ct) => Sandbox.Attach("x", null, c).Commands.SendInputAsync(1, new byte[1], ct),
        (c, ct) => Sandbox.Attach("x", null, c).Commands.KillAsync(1, ct),
        (c, ct) => Sandbox.Attach("x", null, c).Files.ReadAsync("/x", ct: ct),
        (c, ct) => Sandbox.Attach("x", null, c).Files.WriteAsync("/x", new byte[10], null, ct),
        (c, ct) => Sandbox.Attach("x", null, c).Files.WriteAsync("/x", new MemoryStream(new byte[10]), null, ct),
    ];

    public static TheoryData<int, string> Cases()
    {
        var cases = new TheoryData<int, string>();
        for (var call = 0; call < s_calls.Length; call++)
        {
            cases.Add(call, "");
            cases.Add(call, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            cases.Add(call, "HTTP/1.1 500 Oops\r\nContent-Length: 100\r\n\r\n{\"code\"");
        }

        return cases;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public async Task A_server_that_stops_answering_is_a_request_timeout(int call, string answer)
    {
        var time = new ManualTime();
        await using var server = Stuck(answer);

        var calling = s_calls[call](server.Connection with { TimeProvider = time }, CancellationToken.None);
        await server.Asked.Task;
        time.Advance(TimeSpan.FromSeconds(59.9));
        calling.IsCompleted.ShouldBeFalse();
        time.Advance(TimeSpan.FromSeconds(0.1));

        var fault = await Should.ThrowAsync<SandboxRequestTimeoutException>(() => calling);
        fault.Reason.ShouldBe(SandboxFault.RequestTimeout);
        fault.Message.ShouldContain("60 s");
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public async Task A_callers_cancellation_is_a_cancellation_by_that_token(int call, string answer)
    {
        using var cancel = new CancellationTokenSource();
        await using var server = Stuck(answer);

        var calling = s_calls[call](server.Connection, cancel.Token);
        await server.Asked.Task;
        await cancel.CancelAsync();

        (await Should.ThrowAsync<OperationCanceledException>(() => calling)).CancellationToken.ShouldBe(cancel.Token);
    }

    [Fact]
    public async Task A_server_that_dies_in_the_middle_of_the_body_is_unreachable()
    {
        await using var server = new RawServer((head, stream, ct) => head.StartsWith("GET /health", StringComparison.Ordinal)
            ? stream.WriteAsync("HTTP/1.1 204 No Content\r\n\r\n"u8.ToArray(), ct).AsTask()
            : stream.WriteAsync("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"x\":"u8.ToArray(), ct).AsTask());
        var sandbox = Sandbox.Attach("x", null, server.Connection);

        foreach (var call in new Func<Task>[]
        {
            () => sandbox.GetInfoAsync(),
            () => sandbox.Files.ReadAsync("/x"),
            () => sandbox.Commands.KillAsync(1),
            () => Sandbox.KillAsync("x", server.Connection),
        })
        {
            (await Should.ThrowAsync<SandboxException>(call)).Reason.ShouldBe(SandboxFault.Unreachable);
        }
    }

    [Fact]
    public async Task A_connection_that_breaks_because_the_sandbox_was_killed_is_a_lost_sandbox()
    {
        const string Gone = """{"sandboxId":"x","message":"The sandbox was not found","code":502}""";
        await using var server = new RawServer((head, stream, ct) => head.StartsWith("GET /health", StringComparison.Ordinal)
            ? stream.WriteAsync(System.Text.Encoding.ASCII.GetBytes($"HTTP/1.1 502 Bad Gateway\r\nContent-Length: {Gone.Length}\r\n\r\n{Gone}"), ct).AsTask()
            : stream.WriteAsync("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"u8.ToArray(), ct).AsTask());

        await Should.ThrowAsync<SandboxLostException>(() => Sandbox.Attach("x", null, server.Connection).Files.ReadAsync("/x"));
    }

    [Fact]
    public async Task Without_a_request_timeout_a_call_waits()
    {
        var time = new ManualTime();
        using var cancel = new CancellationTokenSource();
        await using var server = Stuck("");

        var calling = Sandbox.GetInfoAsync("x", server.Connection with { TimeProvider = time, RequestTimeout = TimeSpan.Zero }, cancel.Token);
        await server.Asked.Task;
        time.Advance(TimeSpan.FromDays(1));
        calling.IsCompleted.ShouldBeFalse();
        await cancel.CancelAsync();
        await Should.ThrowAsync<OperationCanceledException>(() => calling);
    }

    private static RawServer Stuck(string answer) => new(async (_, stream, ct) =>
    {
        await stream.WriteAsync(System.Text.Encoding.ASCII.GetBytes(answer), ct);
        await Task.Delay(Timeout.Infinite, ct);
    });
}
