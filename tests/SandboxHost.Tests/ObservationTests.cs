using System.Globalization;
using System.Net;
using System.Text.Json;

namespace InterpreterKernel.SandboxHost.Tests;

[Collection(SharedHostCollection.Name)]
public sealed class ObservationTests(SharedHost shared)
{
    [Fact]
    public async Task Metrics_are_those_of_the_sandbox_itself()
    {
        var sandbox = await shared.Client.CreateAsync();
        var idle = await MetricAsync(sandbox);
        await sandbox.RunAsync("head -c 8000000 /dev/urandom > /home/user/big; timeout 1.2 sh -c 'while :; do :; done'");

        var busy = await MetricAsync(sandbox);

        busy.GetProperty("cpuUsedPct").GetDouble().ShouldBeInRange(5, 130);
        busy.GetProperty("cpuCount").GetInt32().ShouldBe(1);
        busy.GetProperty("memTotal").GetInt64().ShouldBe(256 << 20);
        (busy.GetProperty("memUsed").GetInt64() - idle.GetProperty("memUsed").GetInt64()).ShouldBeGreaterThan(7_000_000);
        (busy.GetProperty("diskUsed").GetInt64() - idle.GetProperty("diskUsed").GetInt64()).ShouldBeInRange(8_000_000, 8_100_000);
        busy.GetProperty("diskTotal").GetInt64().ShouldBe(16 << 20);
        Math.Abs(busy.GetProperty("timestampUnix").GetInt64() - DateTimeOffset.UtcNow.ToUnixTimeSeconds()).ShouldBeLessThan(30);
        (await JsonAsync($"/sandboxes/{sandbox.Id}/metrics?start=9999999999")).GetArrayLength().ShouldBe(0);
        (await JsonAsync($"/sandboxes/{sandbox.Id}/metrics?end=1")).GetArrayLength().ShouldBe(0);
        await sandbox.KillAsync();
        (await shared.Client.GetAsync($"/sandboxes/{sandbox.Id}/metrics")).StatusCode.ShouldBe(HttpStatusCode.NotFound);
    }

    [Fact]
    public async Task Metrics_of_many_name_those_that_run()
    {
        var one = await shared.Client.CreateAsync();
        var two = await shared.Client.CreateAsync();

        var found = (await JsonAsync($"/sandboxes/metrics?sandbox_ids={one.Id},{two.Id},inothing")).GetProperty("sandboxes");

        found.EnumerateObject().Select(p => p.Name).Order().ShouldBe(((string[])[one.Id, two.Id]).Order());
        found.GetProperty(one.Id).GetProperty("memUsed").GetInt64().ShouldBeGreaterThan(0);
        await one.KillAsync();
        await two.KillAsync();
    }

    [Fact]
    public async Task Logs_tell_the_life_of_a_sandbox_within_bounds()
    {
        var sandbox = await shared.Client.CreateAsync("""{"templateID":"base","envVars":{"SECRET":"hidden"}}""");
        await sandbox.RunAsync("echo output; exit 3");
        string[] expected = ["sandbox created", "process started", "process ended"];

        var first = await JsonAsync($"/sandboxes/{sandbox.Id}/logs");
        first.GetProperty("logs").GetArrayLength().ShouldBe(3);
        first.GetProperty("logEntries").EnumerateArray().Select(e => e.GetProperty("message").GetString()).ShouldBe(expected);
        first.GetProperty("logs")[2].GetProperty("line").GetString()!.ShouldContain("exit status 3");
        first.ToString().ShouldNotContain("hidden");
        first.ToString().ShouldNotContain("output");

        var path = $"/v2/sandboxes/{sandbox.Id}/logs";
        (await MessagesAsync(path)).ShouldBe(expected);
        (await MessagesAsync(path + "?direction=backward")).ShouldBe(expected.Reverse());
        (await MessagesAsync(path + "?limit=1")).ShouldBe(expected[..1]);
        (await MessagesAsync(path + "?search=STARTED")).ShouldBe(expected[1..2]);
        (await MessagesAsync(path + "?level=error")).ShouldBeEmpty();
        (await MessagesAsync(path + "?cursor=" + DateTimeOffset.UtcNow.AddMinutes(1).ToUnixTimeMilliseconds().ToString(CultureInfo.InvariantCulture))).ShouldBeEmpty();
        await sandbox.KillAsync();
    }

    [Theory]
    [InlineData("GET", "/sandboxes/{id}/metrics?start=x", null, 400)]
    [InlineData("GET", "/sandboxes/metrics", null, 400)]
    [InlineData("GET", "/sandboxes/{id}/logs?limit=1001", null, 400)]
    [InlineData("GET", "/v2/sandboxes/{id}/logs?direction=up", null, 400)]
    [InlineData("GET", "/v2/sandboxes/{id}/logs?level=loud", null, 400)]
    [InlineData("PUT", "/sandboxes/{id}/network", """{"allowOut":["1.1.1.1"]}""", 400)]
    [InlineData("PUT", "/sandboxes/{id}/network", """{"allow_internet_access":true}""", 400)]
    [InlineData("PUT", "/sandboxes/{id}/network", """{"egressProxy":{"address":"x"}}""", 400)]
    [InlineData("PUT", "/sandboxes/{id}/network", """{"denyOut":["0.0.0.0/0"],"allowOut":[],"rules":{},"egressProxy":null}""", 204)]
    [InlineData("PUT", "/sandboxes/{id}/network", """{"allow_internet_access":false}""", 204)]
    [InlineData("POST", "/v2/sandboxes", """{"templateID":"base","network":{"allowOut":["1.1.1.1"]}}""", 400)]
    [InlineData("POST", "/v2/sandboxes", """{"templateID":"base","network":{"httpsPorts":[8443]}}""", 400)]
    [InlineData("POST", "/v2/sandboxes", """{"templateID":"base","network":{"maskRequestHost":"a b"}}""", 400)]
    [InlineData("POST", "/v2/sandboxes", """{"templateID":"base","autoResume":{"enabled":true}}""", 400)]
    [InlineData("POST", "/v2/sandboxes", """{"templateID":"base","autoPause":true,"autoPauseMemory":false}""", 400)]
    [InlineData("POST", "/v2/sandboxes", """{"templateID":"base","volumeMounts":[{"name":"a","path":"/b"}]}""", 400)]
    [InlineData("POST", "/v2/sandboxes", """{"templateID":"base","mcp":{"x":{}}}""", 400)]
    [InlineData("GET", "/health", null, 200)]
    [InlineData("GET", "/snapshots", null, 200)]
    public async Task What_the_host_can_not_do_is_refused_and_the_rest_is_taken(string method, string path, string? body, int status)
    {
        var sandbox = await shared.Client.CreateAsync();
        using var request = new HttpRequestMessage(new HttpMethod(method), path.Replace("{id}", sandbox.Id, StringComparison.Ordinal)) { Content = body is null ? null : new StringContent(body) };

        using var answer = await shared.Client.Http.SendAsync(request);

        ((int)answer.StatusCode).ShouldBe(status);
        if (status == 400)
        {
            (await HostClient.JsonAsync(answer)).GetProperty("code").GetInt32().ShouldBe(status);
        }

        await sandbox.KillAsync();
    }

    private async Task<JsonElement> MetricAsync(TestSandbox sandbox)
    {
        var all = await JsonAsync($"/sandboxes/{sandbox.Id}/metrics");
        return all[all.GetArrayLength() - 1];
    }

    private async Task<JsonElement> JsonAsync(string path)
    {
        using var answer = await shared.Client.GetAsync(path);
        answer.StatusCode.ShouldBe(HttpStatusCode.OK);
        return await HostClient.JsonAsync(answer);
    }

    private async Task<IEnumerable<string?>> MessagesAsync(string path) =>
        [.. (await JsonAsync(path)).GetProperty("logs").EnumerateArray().Select(e => e.GetProperty("message").GetString())];
}
