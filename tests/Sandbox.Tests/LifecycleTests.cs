using System.Text.Json;
using InterpreterKernel.Sandbox.Rest;
using InterpreterKernel.Sandbox.Tests.Support;
using Microsoft.AspNetCore.Http;

namespace InterpreterKernel.Sandbox.Tests;

public sealed class LifecycleTests
{
    private const string NotThere = """{"code":404,"message":"Sandbox doesn't exist or you don't have access to it"}""";

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Create_get_timeout_and_kill_over_tcp_and_unix_socket(bool unixSocket)
    {
        await using var service = await FakeService.StartAsync(unixSocket);
        service.On("POST /v2/sandboxes", 201, Wire.Created())
            .On($"GET /sandboxes/{FakeService.Id}", 200, Wire.Listed(FakeService.Id))
            .On($"POST /sandboxes/{FakeService.Id}/timeout", 204)
            .On($"DELETE /sandboxes/{FakeService.Id}", 204);

        await using var sandbox = await Sandbox.CreateAsync(new SandboxOptions { Timeout = TimeSpan.FromSeconds(59.2) }, service.Connection);
        sandbox.Id.ShouldBe(FakeService.Id);
        sandbox.EnvdAccessToken.ShouldBe(FakeService.Token);
        sandbox.EnvdVersion.ShouldBe("0.6.13");
        sandbox.Domain.ShouldBeNull();
        (await sandbox.GetInfoAsync()).EndAt.ShouldBe(new DateTimeOffset(2026, 11, 21, 10, 5, 0, TimeSpan.Zero));
        await sandbox.SetTimeoutAsync(TimeSpan.FromMinutes(2));
        (await sandbox.KillAsync()).ShouldBeTrue();

        var created = service.Requests.First();
        var body = JsonDocument.Parse(created.Body).RootElement;
        body.GetProperty("templateID").GetString().ShouldBe("base");
        body.GetProperty("timeout").GetInt32().ShouldBe(60);
        body.EnumerateObject().Select(p => p.Name).ShouldBe(["templateID", "timeout", "metadata"]);
        created.Headers.ContainsKey("X-API-Key").ShouldBe(!unixSocket);
        service.Requests.Single(r => r.Line.EndsWith("/timeout", StringComparison.Ordinal)).Body.ShouldBe("""{"timeout":120}""");
    }

    [Fact]
    public async Task A_service_with_only_v1_is_used_by_v1_and_that_is_remembered()
    {
        await using var service = await FakeService.StartAsync();
        service.On("POST /sandboxes", 201, Wire.Created()).On($"DELETE /sandboxes/{FakeService.Id}", 204);

        (await Sandbox.CreateAsync(new SandboxOptions(), service.Connection)).Detach();
        (await Sandbox.CreateAsync(new SandboxOptions(), service.Connection with { RequestTimeout = TimeSpan.FromSeconds(9) })).Detach();

        service.Count("POST /v2/sandboxes").ShouldBe(1);
        service.Count("POST /sandboxes").ShouldBe(2);
        var body = JsonDocument.Parse(service.Requests.Last().Body).RootElement;
        body.GetProperty("timeout").GetInt32().ShouldBe(300);
        body.GetProperty("secure").GetBoolean().ShouldBeTrue();
    }

    [Fact]
    public async Task A_template_that_does_not_exist_does_not_turn_v2_into_v1()
    {
        const string NoTemplate = """{"code":404,"message":"template 'nope' not found"}""";
        await using var service = await FakeService.StartAsync();
        service.On("POST /v2/sandboxes", 404, NoTemplate).On("POST /sandboxes", 404, NoTemplate);

        var fault = await Should.ThrowAsync<SandboxException>(() => Sandbox.CreateAsync(new SandboxOptions { Template = "nope" }, service.Connection));
        fault.Reason.ShouldBe(SandboxFault.NotFound);
        fault.ServiceMessage.ShouldBe("template 'nope' not found");

        service.On("POST /v2/sandboxes", 201, Wire.Created());
        (await Sandbox.CreateAsync(new SandboxOptions(), service.Connection)).Detach();
        service.Count("POST /sandboxes").ShouldBe(1);
    }

    [Fact]
    public async Task Connect_falls_back_to_v1_with_an_explicit_lifetime()
    {
        await using var service = await FakeService.StartAsync();
        service.On($"POST /sandboxes/{FakeService.Id}/connect", 200, Wire.Created());

        var sandbox = await Sandbox.ConnectAsync(FakeService.Id, service.Connection);
        sandbox.Detach();

        sandbox.EnvdAccessToken.ShouldBe(FakeService.Token);
        service.Requests.Last().Body.ShouldBe("""{"timeout":300}""");
    }

    [Fact]
    public async Task Listing_goes_through_all_pages()
    {
        await using var service = await FakeService.StartAsync();
        service.On("GET /v2/sandboxes", async context =>
        {
            var page = context.Request.Query["nextToken"].ToString();
            if (page != "p 3")
            {
                context.Response.Headers["X-Next-Token"] = page.Length == 0 ? "p/2" : "p 3";
            }

            await context.Response.WriteAsync($"[{Wire.Listed("a" + page.Length)},{Wire.Listed("b" + page.Length)}]");
        });

        var ids = new List<string>();
        await foreach (var info in Sandbox.ListAsync(service.Connection, new SandboxListQuery { States = [SandboxState.Paused, SandboxState.Running], PageSize = 2 }))
        {
            ids.Add(info.Id);
        }

        ids.ShouldBe(["a0", "b0", "a3", "b3", "a3", "b3"]);
        service.Requests.Select(r => r.Target).First().ShouldBe("/v2/sandboxes?limit=2&state=paused,running");
        service.Requests.Select(r => r.Target).Last().ShouldContain("nextToken=p%203");
    }

    [Fact]
    public async Task A_page_that_leads_to_itself_ends_the_list_with_an_error()
    {
        await using var service = await FakeService.StartAsync();
        service.On("GET /v2/sandboxes", 200, "[]", ("X-Next-Token", "same"));

        var fault = await Should.ThrowAsync<SandboxException>(async () => await Sandbox.ListAsync(service.Connection).ToListAsync());
        fault.Reason.ShouldBe(SandboxFault.Protocol);
    }

    [Fact]
    public async Task Metadata_are_encoded_three_times_as_the_SDKs_do()
    {
        SandboxLifecycle.EncodeMetadata(new Dictionary<string, string> { ["k 1"] = "v/1" }).ShouldBe("k%2525201%3Dv%25252F1");
        await using var service = await FakeService.StartAsync();
        service.On("GET /v2/sandboxes", 200, "[]");

        await Sandbox.ListAsync(service.Connection, new SandboxListQuery { Metadata = new Dictionary<string, string> { ["a&b"] = "1=2", ["c"] = "ü" } }).ToListAsync();

        // Decoded as a server decodes: the query, then once, then each part.
        var target = service.Requests.Single().Target;
        var once = Uri.UnescapeDataString(Uri.UnescapeDataString(target.Split("metadata=")[1].Split('&')[0]));
        once.Split('&').Select(p => p.Split('=').Select(Uri.UnescapeDataString).ToArray()).ShouldBe([["a&b", "1=2"], ["c", "ü"]]);
    }

    [Fact]
    public async Task Killing_tells_whether_there_was_something_to_kill()
    {
        await using var service = await FakeService.StartAsync();
        service.On("DELETE /sandboxes/here", 204).On("DELETE /sandboxes/gone", 404, NotThere);

        (await Sandbox.KillAsync("here", service.Connection)).ShouldBeTrue();
        (await Sandbox.KillAsync("gone", service.Connection)).ShouldBeFalse();
    }

    [Fact]
    public async Task A_404_that_is_not_the_services_own_does_not_pass_for_killed()
    {
        await using var service = await FakeService.StartAsync(); // answers "404 page not found" in plain text

        var fault = await Should.ThrowAsync<SandboxException>(() => Sandbox.KillAsync("here", service.Connection));
        fault.HttpStatus.ShouldBe(404);
    }

    [Fact]
    public async Task A_sandbox_that_is_gone_is_lost()
    {
        await using var service = await FakeService.StartAsync();
        service.On($"POST /sandboxes/{FakeService.Id}/timeout", 404, NotThere).On($"GET /sandboxes/{FakeService.Id}", 404, NotThere);
        var sandbox = service.Attach();

        (await Should.ThrowAsync<SandboxLostException>(() => sandbox.SetTimeoutAsync(TimeSpan.FromSeconds(60)))).SandboxId.ShouldBe(FakeService.Id);
        await Should.ThrowAsync<SandboxLostException>(() => sandbox.GetInfoAsync());
    }

    [Fact]
    public async Task Disposing_kills_unless_detached_or_attached()
    {
        await using var service = await FakeService.StartAsync();
        service.On("POST /v2/sandboxes", 201, Wire.Created()).On($"DELETE /sandboxes/{FakeService.Id}", 204);

        await (await Sandbox.CreateAsync(new SandboxOptions(), service.Connection)).DisposeAsync();
        service.Count($"DELETE /sandboxes/{FakeService.Id}").ShouldBe(1);

        var detached = await Sandbox.CreateAsync(new SandboxOptions(), service.Connection);
        detached.Detach();
        await detached.DisposeAsync();
        await service.Attach().DisposeAsync();
        service.Count($"DELETE /sandboxes/{FakeService.Id}").ShouldBe(1);
    }

    [Fact]
    public async Task Disposing_does_not_wait_for_a_service_that_does_not_answer()
    {
        var time = new ManualTime();
        var asked = new TaskCompletionSource();
        await using var service = await FakeService.StartAsync();
        service.On("POST /v2/sandboxes", 201, Wire.Created()).On($"DELETE /sandboxes/{FakeService.Id}", context =>
        {
            asked.SetResult();
            return context.StayOpenAsync();
        });
        var sandbox = await Sandbox.CreateAsync(new SandboxOptions(), service.Connection with { TimeProvider = time });

        var disposal = sandbox.DisposeAsync();
        await asked.Task;
        disposal.IsCompleted.ShouldBeFalse();
        time.Advance(TimeSpan.FromSeconds(5));
        await disposal;
        sandbox.DisposalFault.ShouldBeOfType<SandboxRequestTimeoutException>();
    }

    [Fact]
    public async Task Running_or_not_is_read_from_the_health_of_the_daemon()
    {
        await using var service = await FakeService.StartAsync();
        service.On("GET /health", 204);
        (await service.Attach().IsRunningAsync()).ShouldBeTrue();
        var seen = service.Requests.Single();
        seen.Headers["E2b-Sandbox-Id"].ShouldBe(FakeService.Id);
        seen.Headers["E2b-Sandbox-Port"].ShouldBe("49983");
        seen.Headers["X-Access-Token"].ShouldBe(FakeService.Token);
        seen.Headers.ContainsKey("X-API-Key").ShouldBeFalse();

        service.On("GET /health", 502, $$"""{"sandboxId":"{{FakeService.Id}}","message":"The sandbox was not found","code":502}""");
        (await service.Attach().IsRunningAsync()).ShouldBeFalse();

        service.On("GET /health", 502, "<html>bad gateway</html>");
        (await Should.ThrowAsync<SandboxException>(() => service.Attach().IsRunningAsync())).Reason.ShouldBe(SandboxFault.Unreachable);
    }

    [Fact]
    public async Task Pausing_and_metrics_follow_the_SDKs()
    {
        await using var service = await FakeService.StartAsync();
        service.On($"POST /sandboxes/{FakeService.Id}/pause", 204)
            .On($"GET /sandboxes/{FakeService.Id}/metrics", 200, """[{"timestamp":"2026-11-21T10:00:00Z","cpuCount":2,"cpuUsedPct":12.5,"memUsed":1,"memTotal":2,"diskUsed":3,"diskTotal":4}]""");
        var sandbox = service.Attach();

        (await sandbox.PauseAsync()).ShouldBeTrue();
        service.On($"POST /sandboxes/{FakeService.Id}/pause", 409, """{"code":409,"message":"already paused"}""");
        (await sandbox.PauseAsync(keepMemory: false)).ShouldBeFalse();
        service.Requests.Select(r => r.Body).ShouldBe(["{}", """{"memory":false}"""]);
        (await sandbox.GetMetricsAsync()).Single().CpuUsedPercent.ShouldBe(12.5);
    }

    [Fact]
    public async Task Debug_mode_asks_no_control_plane()
    {
        var connection = new SandboxConnection { Debug = true, ApiUrl = new Uri("http://127.0.0.1:1") };

        await using var sandbox = await Sandbox.CreateAsync(new SandboxOptions(), connection);
        sandbox.Id.ShouldBe("debug_sandbox_id");
        await sandbox.SetTimeoutAsync(TimeSpan.FromSeconds(1));
        (await sandbox.KillAsync()).ShouldBeTrue();
    }

    [Fact]
    public async Task Without_a_key_nothing_is_sent()
    {
        await using var service = await FakeService.StartAsync();

        var fault = await Should.ThrowAsync<SandboxException>(() => Sandbox.KillAsync("x", service.Connection with { ApiKey = null }));
        fault.Reason.ShouldBe(SandboxFault.Authentication);
        service.Requests.ShouldBeEmpty();
    }
}
