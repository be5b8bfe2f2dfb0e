using System.Text;
using InterpreterKernel.Protocol.Connect;
using InterpreterKernel.Sandbox.Tests.Support;

namespace InterpreterKernel.Sandbox.Tests;

/// <summary>Each failure has its type and its reason, and none of them gives a secret away.</summary>
public sealed class FailureTests
{
    [Theory]
    [InlineData(400, SandboxFault.InvalidRequest)]
    [InlineData(401, SandboxFault.Authentication)]
    [InlineData(403, SandboxFault.Forbidden)]
    [InlineData(404, SandboxFault.NotFound)]
    [InlineData(409, SandboxFault.Conflict)]
    [InlineData(418, SandboxFault.InvalidRequest)]
    [InlineData(429, SandboxFault.ConcurrencyLimit)]
    [InlineData(500, SandboxFault.ServiceError)]
    [InlineData(502, SandboxFault.ServiceError)]
    [InlineData(503, SandboxFault.ServiceBusy)]
    [InlineData(504, SandboxFault.ServiceError)]
    [InlineData(302, SandboxFault.Protocol)]
    public async Task Statuses_of_the_control_plane(int status, SandboxFault reason)
    {
        await using var service = await FakeService.StartAsync();
        service.On("GET /sandboxes/x", status, $$"""{"code":{{status}},"message":"the words","error_code":"slug"}""");

        var fault = await Should.ThrowAsync<SandboxException>(() => Sandbox.GetInfoAsync("x", service.Connection));
        fault.Reason.ShouldBe(reason);
        fault.HttpStatus.ShouldBe(status);
        fault.ServiceMessage.ShouldBe("the words");
        fault.ErrorCode.ShouldBe("slug");
        fault.Message.ShouldContain("the words");
    }

    [Theory]
    [InlineData(502, """{"sandboxId":"x","message":"The sandbox was not found","code":502}""", SandboxFault.SandboxLost)]
    [InlineData(502, """{"sandboxId":"x","message":"port is not open","code":502,"port":49983}""", SandboxFault.Unreachable)]
    [InlineData(502, "<html>bad gateway</html>", SandboxFault.Unreachable)]
    [InlineData(401, """{"code":401,"message":"unauthorized access"}""", SandboxFault.Authentication)]
    [InlineData(404, """{"code":"not_found","message":"process with pid 9 not found"}""", SandboxFault.NotFound)]
    [InlineData(400, """{"code":"invalid_argument","message":"no"}""", SandboxFault.InvalidRequest)]
    [InlineData(501, """{"code":"unimplemented","message":"invalid signal"}""", SandboxFault.Unsupported)]
    [InlineData(500, """{"code":"internal","message":"broken pipe"}""", SandboxFault.ServiceError)]
    [InlineData(503, """{"code":"unavailable","message":"frozen"}""", SandboxFault.Unreachable)]
    [InlineData(409, """{"sandboxId":"x","message":"transitioning","code":409}""", SandboxFault.Conflict)]
    [InlineData(429, """{"message":"too many connections","code":429}""", SandboxFault.ConcurrencyLimit)]
    [InlineData(507, """{"message":"disk full","code":507}""", SandboxFault.OutOfSpace)]
    public async Task Statuses_of_a_sandbox_unary_and_stream(int status, string body, SandboxFault reason)
    {
        await using var service = await FakeService.StartAsync();
        service.On("POST /process.Process/SendInput", status, body).On("POST /process.Process/Start", status, body).On("GET /health", 204);
        var commands = service.Attach().Commands;

        var unary = await Should.ThrowAsync<SandboxException>(() => commands.SendInputAsync(9, new byte[1]));
        var stream = await Should.ThrowAsync<SandboxException>(() => commands.StartAsync(new ProcessStart("x", [])));

        unary.Reason.ShouldBe(reason);
        stream.Reason.ShouldBe(reason);
        (unary is SandboxLostException).ShouldBe(reason == SandboxFault.SandboxLost);
    }

    [Theory]
    [InlineData(ConnectCode.NotFound, SandboxFault.NotFound)]
    [InlineData(ConnectCode.InvalidArgument, SandboxFault.InvalidRequest)]
    [InlineData(ConnectCode.Unauthenticated, SandboxFault.Authentication)]
    [InlineData(ConnectCode.ResourceExhausted, SandboxFault.ServiceBusy)]
    [InlineData(ConnectCode.Internal, SandboxFault.ServiceError)]
    [InlineData(ConnectCode.DeadlineExceeded, SandboxFault.ExecutionTimeout)]
    [InlineData(ConnectCode.Unavailable, SandboxFault.Unreachable)]
    public async Task Errors_at_the_end_of_a_stream(ConnectCode code, SandboxFault reason)
    {
        await using var service = await FakeService.StartAsync();
        service.On("GET /health", 204)
            .On("POST /process.Process/Start", c => c.StreamAsync(Wire.Closing(new ConnectError(code, "the words"))))
            .On("POST /process.Process/Connect", c => c.StreamAsync(Wire.Start(), Wire.Closing(new ConnectError(code, "the words"))));
        var commands = service.Attach().Commands;

        var first = await Should.ThrowAsync<SandboxException>(() => commands.StartAsync(new ProcessStart("x", [])));
        await using var process = await commands.ConnectAsync(42);
        var later = await Should.ThrowAsync<SandboxException>(() => process.WaitAsync());

        first.Reason.ShouldBe(reason);
        later.Reason.ShouldBe(reason);
        later.ServiceMessage.ShouldBe("the words");
        (later is ExecutionTimeoutException).ShouldBe(reason == SandboxFault.ExecutionTimeout);
    }

    [Fact]
    public async Task A_read_that_fails_for_a_moment_is_repeated_and_a_write_is_not()
    {
        await using var service = await FakeService.StartAsync();
        var failures = 2;
        service.On("GET /sandboxes/x", context =>
        {
            if (failures-- > 0)
            {
                context.Abort();
                return Task.CompletedTask;
            }

            return Microsoft.AspNetCore.Http.HttpResponseWritingExtensions.WriteAsync(context.Response, Wire.Listed("x"));
        });
        service.On($"POST /sandboxes/{FakeService.Id}/pause", 503);

        (await Sandbox.GetInfoAsync("x", service.Connection)).Id.ShouldBe("x");
        await Should.ThrowAsync<SandboxException>(() => service.Attach().PauseAsync());
        service.Count($"POST /sandboxes/{FakeService.Id}/pause").ShouldBe(1);
    }

    [Fact]
    public async Task Nothing_listening_is_unreachable_and_says_that_nothing_was_sent()
    {
        var connection = new SandboxConnection { ApiKey = "k", ApiUrl = new Uri("http://127.0.0.1:1") };
        var socket = new SandboxConnection { UnixSocket = "/nonexistent/s.sock" };

        foreach (var to in new[] { connection, socket })
        {
            var fault = await Should.ThrowAsync<SandboxException>(() => Sandbox.CreateAsync(new SandboxOptions(), to));
            fault.Reason.ShouldBe(SandboxFault.Unreachable);
            fault.Message.ShouldContain("Nothing was sent");
        }
    }

    [Fact]
    public async Task An_endless_error_body_is_cut()
    {
        await using var service = await FakeService.StartAsync();
        service.On("GET /sandboxes/x", async context =>
        {
            context.Response.StatusCode = 400;
            var junk = Encoding.ASCII.GetBytes(new string('j', 100_000));
            while (!context.RequestAborted.IsCancellationRequested)
            {
                await context.Response.Body.WriteAsync(junk, context.RequestAborted);
            }
        });

        var fault = await Should.ThrowAsync<SandboxException>(() => Sandbox.GetInfoAsync("x", service.Connection));
        fault.Reason.ShouldBe(SandboxFault.InvalidRequest);
        fault.Message.Length.ShouldBeLessThan(2000);
    }

    [Fact]
    public async Task No_text_shows_a_secret_even_when_the_service_repeats_it()
    {
        await using var service = await FakeService.StartAsync();
        var echo = $"key {FakeService.Key} token {FakeService.Token}";
        service.On($"GET /sandboxes/{FakeService.Id}", 401, $$"""{"code":401,"message":"{{echo}}"}""")
            .On("POST /process.Process/SendSignal", 400, $$"""{"code":"internal","message":"{{echo}}"}""")
            .On("GET /files", 400, $$"""{"code":400,"message":"{{echo}}"}""")
            .On("POST /process.Process/Start", c => c.StreamAsync(Wire.Closing(new ConnectError(ConnectCode.Internal, echo))));
        var sandbox = service.Attach();

        var faults = new[]
        {
            await Should.ThrowAsync<SandboxException>(() => sandbox.GetInfoAsync()),
            await Should.ThrowAsync<SandboxException>(() => sandbox.Commands.KillAsync(9)),
            await Should.ThrowAsync<SandboxException>(() => sandbox.Files.ReadAsync("/x")),
            await Should.ThrowAsync<SandboxException>(() => sandbox.Commands.StartAsync(new ProcessStart("x", []))),
        };

        foreach (var text in faults.Select(f => f + f.ServiceMessage).Append(sandbox.ToString()).Append(service.Connection.ToString()))
        {
            text.ShouldNotContain(FakeService.Token);
        }

        faults.ShouldAllBe(f => !f.ToString().Contains(FakeService.Key) && !f.ServiceMessage!.Contains(FakeService.Key));
        faults.ShouldAllBe(f => f.Message.Contains("[hidden]"));
    }

    [Fact]
    public async Task A_key_that_no_header_can_carry_is_refused_without_being_shown()
    {
        await using var service = await FakeService.StartAsync();

        var fault = await Should.ThrowAsync<SandboxException>(() => Sandbox.KillAsync("x", service.Connection with { ApiKey = "geheim\r\nX: 1" }));
        fault.Reason.ShouldBe(SandboxFault.InvalidRequest);
        fault.ToString().ShouldNotContain("geheim");
        service.Requests.ShouldBeEmpty();
    }
}
