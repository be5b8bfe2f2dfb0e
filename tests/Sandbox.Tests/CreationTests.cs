using System.Text.Json;
using InterpreterKernel.Sandbox.Tests.Support;
using Microsoft.AspNetCore.Http;

namespace InterpreterKernel.Sandbox.Tests;

/// <summary>What becomes of a sandbox whose create goes wrong half-way.</summary>
public sealed class CreationTests
{
    private const string Limit = """{"code":429,"message":"you have reached the maximum number of concurrent E2B sandboxes (20)"}""";

    private readonly ManualTime _time = new();
    private readonly TaskCompletionSource _asked = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private string? _mark;

    [Fact]
    public async Task A_create_whose_answer_is_cut_off_is_found_again_and_returned()
    {
        await using var service = await ServiceAsync();
        service.On("POST /v2/sandboxes", context =>
        {
            NoteMark(context);
            context.Abort();
            return Task.CompletedTask;
        });

        await using var sandbox = await Sandbox.CreateAsync(new SandboxOptions { Timeout = TimeSpan.FromSeconds(60) }, service.Connection);

        sandbox.Id.ShouldBe("found");
        service.Count("POST /v2/sandboxes").ShouldBe(1);
        service.Requests.Single(r => r.Line == "POST /v2/sandboxes/found/connect").Body.ShouldBe("""{"timeout":60}""");
    }

    [Theory]
    [InlineData(500)]
    [InlineData(502)]
    [InlineData(504)]
    public async Task A_gateways_error_does_not_hide_a_sandbox_that_was_made(int status)
    {
        await using var service = await ServiceAsync();
        service.On("POST /v2/sandboxes", context =>
        {
            NoteMark(context);
            context.Response.StatusCode = status;
            return Task.CompletedTask;
        });

        await using var sandbox = await Sandbox.CreateAsync(new SandboxOptions(), service.Connection);
        sandbox.Id.ShouldBe("found");
    }

    [Fact]
    public async Task A_cut_off_create_that_made_nothing_is_unreachable_and_not_repeated()
    {
        await using var service = await FakeService.StartAsync();
        service.On("GET /v2/sandboxes", 200, "[]").On("POST /v2/sandboxes", context =>
        {
            context.Abort();
            return Task.CompletedTask;
        });

        var creating = Sandbox.CreateAsync(new SandboxOptions(), service.Connection with { TimeProvider = _time });
        foreach (var pause in new[] { 0.3, 1, 3 })
        {
            await _time.WhenDueInAsync(TimeSpan.FromSeconds(pause));
            _time.Advance(TimeSpan.FromSeconds(pause));
        }

        (await Should.ThrowAsync<SandboxException>(() => creating)).Reason.ShouldBe(SandboxFault.Unreachable);
        service.Count("POST /v2/sandboxes").ShouldBe(1);
    }

    [Fact]
    public async Task A_sandbox_of_somebody_else_is_never_taken()
    {
        await using var service = await FakeService.StartAsync();
        service.On("GET /v2/sandboxes", 200, $"[{Wire.Listed("stranger", "other")}]").On("POST /v2/sandboxes", 500);

        (await Should.ThrowAsync<SandboxException>(() => Sandbox.CreateAsync(new SandboxOptions(), service.Connection))).HttpStatus.ShouldBe(500);
        service.Requests.Count.ShouldBe(2);
    }

    [Fact]
    public async Task After_a_request_timeout_what_was_made_is_killed()
    {
        await using var service = await ServiceAsync();
        service.On("POST /v2/sandboxes", StayOpenAsync);

        var creating = Sandbox.CreateAsync(new SandboxOptions(), service.Connection with { TimeProvider = _time });
        await _asked.Task;
        _time.Advance(TimeSpan.FromSeconds(60));

        var fault = await Should.ThrowAsync<SandboxRequestTimeoutException>(() => creating);
        fault.Timeout.ShouldBe(TimeSpan.FromSeconds(60));
        fault.Message.ShouldContain("found, was killed");
        service.Count("DELETE /sandboxes/found").ShouldBe(1);
    }

    [Fact]
    public async Task A_cancelled_create_kills_the_sandbox_that_arrives_a_moment_later()
    {
        using var cancel = new CancellationTokenSource();
        var answer = new TaskCompletionSource();
        await using var service = await ServiceAsync();
        service.On("DELETE /sandboxes/late", 204).On("POST /v2/sandboxes", async context =>
        {
            _asked.SetResult();
            await answer.Task;
            context.Response.StatusCode = 201;
            await context.Response.WriteAsync(Wire.Created("late"));
        });

        var creating = Sandbox.CreateAsync(new SandboxOptions(), service.Connection, cancel.Token);
        await _asked.Task;
        await cancel.CancelAsync();
        answer.SetResult();

        (await Should.ThrowAsync<OperationCanceledException>(() => creating)).CancellationToken.ShouldBe(cancel.Token);
        service.Count("DELETE /sandboxes/late").ShouldBe(1);
    }

    [Fact]
    public async Task A_cancelled_create_that_is_never_answered_is_looked_for_and_killed()
    {
        using var cancel = new CancellationTokenSource();
        await using var service = await ServiceAsync();
        service.On("POST /v2/sandboxes", StayOpenAsync);

        var creating = Sandbox.CreateAsync(new SandboxOptions(), service.Connection with { TimeProvider = _time }, cancel.Token);
        await _asked.Task;
        await cancel.CancelAsync();
        await _time.WhenDueInAsync(TimeSpan.FromSeconds(3));
        _time.Advance(TimeSpan.FromSeconds(3));

        await Should.ThrowAsync<OperationCanceledException>(() => creating);
        service.Count("DELETE /sandboxes/found").ShouldBe(1);
    }

    [Fact]
    public async Task The_concurrency_limit_is_told_at_once_and_not_retried()
    {
        await using var service = await FakeService.StartAsync();
        service.On("POST /v2/sandboxes", 429, Limit);

        var fault = await Should.ThrowAsync<SandboxException>(() => Sandbox.CreateAsync(new SandboxOptions(), service.Connection));
        fault.Reason.ShouldBe(SandboxFault.ConcurrencyLimit);
        fault.RetryAfter.ShouldBeNull();
        service.Requests.Count.ShouldBe(1);
    }

    [Fact]
    public async Task A_rate_limit_is_waited_out_as_long_as_the_service_says()
    {
        await using var service = await FakeService.StartAsync();
        var left = 3;
        service.On("POST /v2/sandboxes", async context =>
        {
            context.Response.StatusCode = left-- > 0 ? 429 : 201;
            if (context.Response.StatusCode == 429)
            {
                context.Response.Headers.RetryAfter = "2";
            }

            await context.Response.WriteAsync(context.Response.StatusCode == 429 ? """{"code":429,"message":"Rate limit exceeded"}""" : Wire.Created());
        });

        var creating = Sandbox.CreateAsync(new SandboxOptions(), service.Connection with { TimeProvider = _time });
        for (var i = 0; i < 3; i++)
        {
            await _time.WhenDueInAsync(TimeSpan.FromSeconds(2));
            _time.Advance(TimeSpan.FromSeconds(2));
        }

        (await creating).Detach();
        service.Requests.Count.ShouldBe(4);
    }

    [Fact]
    public async Task A_rate_limit_that_does_not_fit_the_request_timeout_is_told_at_once()
    {
        await using var service = await FakeService.StartAsync();
        service.On("POST /v2/sandboxes", 429, """{"code":429,"message":"Rate limit exceeded"}""", ("Retry-After", "61"));

        var fault = await Should.ThrowAsync<SandboxException>(() => Sandbox.CreateAsync(new SandboxOptions(), service.Connection));
        fault.Reason.ShouldBe(SandboxFault.RateLimited);
        fault.RetryAfter.ShouldBe(TimeSpan.FromSeconds(61));
    }

    [Theory]
    [InlineData("""{"sandboxID":"../../x","envdVersion":"0.6.13"}""")]
    [InlineData("""{"sandboxID":"x","envdVersion":"0.6.13","domain":"a/b"}""")]
    [InlineData("""{"sandboxID":"x","envdVersion":"0.6.13","envdAccessToken":"a\r\nb"}""")]
    [InlineData("""{"envdVersion":"0.6.13"}""")]
    [InlineData("""["x"]""")]
    [InlineData("<html>")]
    [InlineData("")]
    public async Task An_answer_that_makes_no_sense_is_a_fault_of_the_protocol(string body)
    {
        await using var service = await FakeService.StartAsync();
        service.On("POST /v2/sandboxes", 201, body);

        (await Should.ThrowAsync<SandboxException>(() => Sandbox.CreateAsync(new SandboxOptions(), service.Connection))).Reason.ShouldBe(SandboxFault.Protocol);
    }

    // A service that lists, connects and kills a sandbox "found" with the mark of the create it has seen.
    private async Task<FakeService> ServiceAsync()
    {
        var service = await FakeService.StartAsync();
        return service
            .On("GET /v2/sandboxes", context => context.Response.WriteAsync($"[{Wire.Listed("stranger", "other")},{Wire.Listed("found", _mark)}]"))
            .On("POST /v2/sandboxes/found/connect", 200, Wire.Created("found"))
            .On("DELETE /sandboxes/found", 204);
    }

    private void NoteMark(HttpContext context) =>
        _mark = JsonDocument.Parse((byte[])context.Items["body"]!).RootElement.GetProperty("metadata").GetProperty(Sandbox.CreateKey).GetString();

    private Task StayOpenAsync(HttpContext context)
    {
        NoteMark(context);
        _asked.TrySetResult();
        return context.StayOpenAsync();
    }
}
