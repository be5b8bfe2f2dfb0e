using System.Net;
using System.Text;
using System.Text.Json;

namespace InterpreterKernel.SandboxHost.Tests;

[Collection(SharedHostCollection.Name)]
public sealed class ControlPlaneTests(SharedHost shared)
{
    [Theory]
    [InlineData("/v2/sandboxes", 300)]
    [InlineData("/sandboxes", 15)]
    public async Task Create_answers_in_E2Bs_form_with_the_default_time_of_its_version(string path, int seconds)
    {
        using var response = await shared.Client.PostAsync(path, """{"templateID":"code-interpreter-v1:latest","metadata":{"a":"b"},"secure":true,"unknown":{"x":[1]}}""");

        response.StatusCode.ShouldBe(HttpStatusCode.Created);
        var created = await HostClient.JsonAsync(response);
        var id = created.GetProperty("sandboxID").GetString()!;
        id.ShouldMatch("^i[a-z0-9]{20}$");
        created.GetProperty("envdAccessToken").GetString()!.ShouldMatch("^[0-9a-f]{64}$");
        created.GetProperty("envdVersion").GetString().ShouldBe("0.6.13");
        created.GetProperty("clientID").GetString().ShouldNotBeNullOrEmpty();
        created.TryGetProperty("domain", out _).ShouldBeFalse();
        var detail = await HostClient.JsonAsync(await shared.Client.GetAsync("/sandboxes/" + id));
        (detail.GetProperty("endAt").GetDateTimeOffset() - detail.GetProperty("startedAt").GetDateTimeOffset()).TotalSeconds.ShouldBe(seconds);
        detail.GetProperty("metadata").GetProperty("a").GetString().ShouldBe("b");
        detail.GetProperty("state").GetString().ShouldBe("running");
        (await shared.Client.DeleteAsync(id)).StatusCode.ShouldBe(HttpStatusCode.NoContent);
    }

    [Theory]
    [InlineData("", 400)]
    [InlineData("{", 400)]
    [InlineData("[]", 400)]
    [InlineData("null", 400)]
    [InlineData("{}", 400)]
    [InlineData("""{"templateID":5}""", 400)]
    [InlineData("""{"templateID":"base","timeout":0}""", 400)]
    [InlineData("""{"templateID":"base","timeout":-1}""", 400)]
    [InlineData("""{"templateID":"base","timeout":86401}""", 400)]
    [InlineData("""{"templateID":"base","timeout":99999999999}""", 400)]
    [InlineData("""{"templateID":"base","timeout":"x"}""", 400)]
    [InlineData("""{"templateID":"base","metadata":{"a":1}}""", 400)]
    [InlineData("""{"templateID":"base","metadata":{"a":null}}""", 400)]
    [InlineData("""{"templateID":"base","envVars":{"A=B":"c"}}""", 400)]
    [InlineData("""{"templateID":"base","envVars":{"":"c"}}""", 400)]
    [InlineData("""{"templateID":"base","envVars":{"A":"\u0000"}}""", 400)]
    [InlineData("""{"templateID":"nonesuch"}""", 404)]
    public async Task A_bad_create_is_refused_with_an_integer_code(string body, int status)
    {
        using var response = await shared.Client.PostAsync("/v2/sandboxes", body);

        ((int)response.StatusCode).ShouldBe(status);
        (await HostClient.JsonAsync(response)).GetProperty("code").GetInt32().ShouldBe(status);
    }

    [Fact]
    public async Task A_body_without_end_is_refused()
    {
        using var response = await shared.Client.PostAsync("/v2/sandboxes", "{\"templateID\":\"" + new string('x', 2 << 20) + "\"}");

        ((int)response.StatusCode).ShouldBe(413);
    }

    [Theory]
    [InlineData("GET", "/sandboxes/inothing", 404)]
    [InlineData("DELETE", "/sandboxes/inothing", 404)]
    [InlineData("DELETE", "/sandboxes/inothing-6532622b", 404)]
    [InlineData("DELETE", "/sandboxes/a-b-c", 400)]
    [InlineData("DELETE", "/sandboxes/UPPER", 400)]
    [InlineData("GET", "/sandboxes/..%2f..%2fetc", 400)]
    [InlineData("GET", "/nothing", 404)]
    [InlineData("PATCH", "/sandboxes", 404)]
    [InlineData("GET", "/v2/sandboxes?limit=0", 400)]
    [InlineData("GET", "/v2/sandboxes?limit=abc", 400)]
    [InlineData("GET", "/v2/sandboxes?state=dead", 400)]
    [InlineData("GET", "/v2/sandboxes?order=up", 400)]
    [InlineData("GET", "/v2/sandboxes?nextToken=%21%21", 400)]
    [InlineData("GET", "/v2/sandboxes?nextToken=AAAA", 400)]
    [InlineData("GET", "/v2/sandboxes?startedAfter=yesterday", 400)]
    public async Task Errors_carry_their_code_in_the_body(string method, string path, int status)
    {
        using var response = await shared.Client.Http.SendAsync(new HttpRequestMessage(new HttpMethod(method), path));

        ((int)response.StatusCode).ShouldBe(status);
        (await HostClient.JsonAsync(response)).GetProperty("code").GetInt32().ShouldBe(status);
    }

    [Fact]
    public async Task Lists_are_filtered_ordered_and_paged()
    {
        var sandboxes = new List<TestSandbox>();
        for (var i = 0; i < 3; i++)
        {
            sandboxes.Add(await shared.Client.CreateAsync(JsonSerializer.Serialize(new { templateID = "python", metadata = new Dictionary<string, string> { ["k 1"] = "v/1", ["n"] = $"{i}" } })));
        }

        // As E2B's own client encodes it: each part, then all of it, then the query.
        var filter = Uri.EscapeDataString(Uri.EscapeDataString($"{Uri.EscapeDataString("k 1")}={Uri.EscapeDataString("v/1")}"));
        async Task<(List<string?> Ids, string? Next)> PageAsync(string query)
        {
            using var response = await shared.Client.GetAsync("/v2/sandboxes?metadata=" + filter + query);
            response.StatusCode.ShouldBe(HttpStatusCode.OK);
            var next = response.Headers.TryGetValues("X-Next-Token", out var values) ? values.Single() : null;
            return ([.. (await HostClient.JsonAsync(response)).EnumerateArray().Select(s => s.GetProperty("sandboxID").GetString())], next);
        }

        (await PageAsync("")).Ids.ShouldBe(Enumerable.Reverse(sandboxes).Select(s => s.Id));
        (await PageAsync("&state=paused")).Ids.ShouldBeEmpty();
        (await PageAsync("&template=base")).Ids.ShouldBeEmpty();
        var (first, token) = await PageAsync("&limit=2&order=asc");
        first.ShouldBe([sandboxes[0].Id, sandboxes[1].Id]);
        var (second, end) = await PageAsync("&limit=2&order=asc&nextToken=" + token);
        second.ShouldBe([sandboxes[2].Id]);
        end.ShouldBeNull();
        foreach (var sandbox in sandboxes)
        {
            await sandbox.KillAsync();
        }
    }

    [Fact]
    public async Task A_key_is_needed_over_tcp_and_the_sandbox_has_its_own_token()
    {
        await using var host = await TestHost.StartAsync(o => o with { ListenUrl = new Uri("http://127.0.0.1:0"), ApiKey = "e2b_secret" });
        using var client = new HostClient(new HttpClient { BaseAddress = new Uri(host.App.Address) });

        (await client.GetAsync("/v2/sandboxes")).StatusCode.ShouldBe(HttpStatusCode.Unauthorized);
        client.Http.DefaultRequestHeaders.Add("X-API-Key", "e2b_wrong");
        (await client.GetAsync("/v2/sandboxes")).StatusCode.ShouldBe(HttpStatusCode.Unauthorized);
        client.Http.DefaultRequestHeaders.Remove("X-API-Key");
        client.Http.DefaultRequestHeaders.Add("X-API-Key", "e2b_secret");
        var sandbox = await client.CreateAsync("""{"templateID":"base","metadata":{"interpreter-kernel.python":"/nonexistent"}}""");
        (await sandbox.RunAsync("echo tcp")).Stdout.ShouldBe("tcp\n");
        await sandbox.KillAsync();
    }

    [Fact]
    public async Task Envd_wants_the_token_except_for_health()
    {
        var sandbox = await shared.Client.CreateAsync();
        foreach (var (path, method) in ((string, HttpMethod)[])[("/files?path=/etc/passwd", HttpMethod.Get), ("/files?path=/tmp/x", HttpMethod.Post), ("/process.Process/List", HttpMethod.Post), ("/envs", HttpMethod.Get)])
        {
            foreach (var token in (string?[])[null, "", "wrong", sandbox.Token[..63], sandbox.Token + "0"])
            {
                using var request = sandbox.Request(method, path, new StringContent("{}", Encoding.UTF8, "application/json"));
                request.Headers.Remove("X-Access-Token");
                if (token is not null)
                {
                    request.Headers.TryAddWithoutValidation("X-Access-Token", token);
                }

                using var response = await shared.Client.Http.SendAsync(request);
                response.StatusCode.ShouldBe(HttpStatusCode.Unauthorized);
                (await HostClient.JsonAsync(response)).GetProperty("code").GetInt32().ShouldBe(401);
            }
        }

        using var health = sandbox.Request(HttpMethod.Get, "/health");
        health.Headers.Remove("X-Access-Token");
        (await shared.Client.Http.SendAsync(health)).StatusCode.ShouldBe(HttpStatusCode.NoContent);
        await sandbox.KillAsync();
    }

    [Fact]
    public async Task A_dead_sandbox_and_a_closed_port_are_answered_as_by_the_edge()
    {
        var sandbox = await shared.Client.CreateAsync();
        using (var request = sandbox.Request(HttpMethod.Get, "/"))
        {
            request.Headers.Remove("E2b-Sandbox-Port");
            request.Headers.Add("E2b-Sandbox-Port", "8080");
            using var closed = await shared.Client.Http.SendAsync(request);
            closed.StatusCode.ShouldBe(HttpStatusCode.BadGateway);
            (await HostClient.JsonAsync(closed)).GetProperty("port").GetInt32().ShouldBe(8080);
        }

        await sandbox.KillAsync();
        using var dead = await sandbox.SendAsync(HttpMethod.Get, "/health");
        dead.StatusCode.ShouldBe(HttpStatusCode.BadGateway);
        var body = await HostClient.JsonAsync(dead);
        body.GetProperty("sandboxId").GetString().ShouldBe(sandbox.Id);
        body.GetProperty("message").GetString().ShouldBe("The sandbox was not found");
        body.GetProperty("code").GetInt32().ShouldBe(502);
    }

    [Fact]
    public async Task A_host_name_with_port_and_id_leads_to_the_sandbox_as_well()
    {
        var sandbox = await shared.Client.CreateAsync();
        using var request = new HttpRequestMessage(HttpMethod.Get, "/health");
        request.Headers.Host = $"49983-{sandbox.Id}.example.org";

        (await shared.Client.Http.SendAsync(request)).StatusCode.ShouldBe(HttpStatusCode.NoContent);
        await sandbox.KillAsync();
    }
}
