using System.Net;
using System.Text;

namespace InterpreterKernel.SandboxHost.Tests;

/// <summary>envd's small REST routes, and who may call them.</summary>
[Collection(SharedHostCollection.Name)]
public sealed class EnvdRestTests(SharedHost shared) : IAsyncLifetime
{
    private TestSandbox _sandbox = null!;

    public async Task InitializeAsync() => _sandbox = await shared.Client.CreateAsync("""{"templateID":"base","envVars":{"A":"1"}}""");

    public async Task DisposeAsync() => await _sandbox.KillAsync();

    [Theory]
    [InlineData("GET", "/health", 204)]
    [InlineData("GET", "/files?path=/etc/passwd", 401)]
    [InlineData("GET", "/envs", 401)]
    [InlineData("GET", "/metrics", 401)]
    [InlineData("POST", "/files/compose", 401)]
    [InlineData("POST", "/filesystem.Filesystem/Stat", 401)]
    [InlineData("POST", "/process.Process/List", 401)]
    public async Task Without_the_token_only_health_answers(string method, string path, int status)
    {
        foreach (var token in (string?[])[null, "", new string('0', 64)])
        {
            var request = _sandbox.Request(new HttpMethod(method), path);
            request.Headers.Remove("X-Access-Token");
            if (token is not null)
            {
                request.Headers.Add("X-Access-Token", token);
            }

            using var response = await shared.Client.Http.SendAsync(request);

            ((int)response.StatusCode).ShouldBe(status, token);
            if (status == 401)
            {
                (await HostClient.JsonAsync(response)).GetProperty("code").GetInt32().ShouldBe(401);
            }
        }
    }

    [Fact]
    public async Task Variables_and_metrics_are_told()
    {
        using var variables = await _sandbox.SendAsync(HttpMethod.Get, "/envs");
        (await variables.Content.ReadAsStringAsync()).ShouldBe("""{"A":"1"}""");

        using var metrics = await _sandbox.SendAsync(HttpMethod.Get, "/metrics");
        var told = await HostClient.JsonAsync(metrics);
        told.GetProperty("cpu_count").GetInt32().ShouldBe(1);
        told.GetProperty("mem_total").GetInt64().ShouldBe(256 << 20);
        told.GetProperty("mem_used").GetInt64().ShouldBeInRange(1, 256 << 20);
        told.GetProperty("disk_total").GetInt64().ShouldBe(16 << 20);
    }

    [Fact]
    public async Task Parts_are_joined_and_go()
    {
        await _sandbox.RunAsync("printf one > 1; printf two > 2; mkdir out; printf old > out/all");

        using (var response = await ComposeAsync("""{"source_paths":["1","/home/user/2","1"],"destination":"out/all"}"""))
        {
            (await response.Content.ReadAsStringAsync()).ShouldBe("""{"name":"all","path":"/home/user/out/all","type":"file"}""");
        }

        (await _sandbox.RunAsync("cat out/all; ls -A . out")).Stdout.ShouldBe("onetwoone.:\nout\n\nout:\nall\n");
    }

    [Theory]
    [InlineData("""{"source_paths":[],"destination":"x"}""", 400)]
    [InlineData("""{"source_paths":["f"]}""", 400)]
    [InlineData("""{"source_paths":["f"],"destination":"./f"}""", 400)]
    [InlineData("""{"source_paths":["f","d"],"destination":"x"}""", 400)]
    [InlineData("""{"source_paths":["f","fifo"],"destination":"x"}""", 400)]
    [InlineData("""{"source_paths":["f","none"],"destination":"x"}""", 404)]
    [InlineData("""{"source_paths":["f",null],"destination":"x"}""", 400)]
    [InlineData("""{"source_paths":["f"],"destination":"/usr/x"}""", 403)]
    [InlineData("""{"source_paths":["f"],"destination":"x","username":"root"}""", 401)]
    [InlineData("nonsense", 400)]
    public async Task What_can_not_be_joined_stays(string body, int status)
    {
        await _sandbox.RunAsync("printf one > f; mkdir d; mkfifo fifo");

        using var response = await ComposeAsync(body);

        ((int)response.StatusCode).ShouldBe(status);
        (await _sandbox.RunAsync("ls -A; cat f")).Stdout.ShouldBe("d\nf\nfifo\none");
    }

    [Theory]
    [InlineData("X-Metadata-", "x")]
    [InlineData("X-Metadata-a", "täxt")]
    [InlineData("X-Metadata-long", "5000")]
    public async Task Metadata_that_no_file_can_carry_is_refused(string name, string value)
    {
        var request = _sandbox.Request(HttpMethod.Post, "/files?path=f", new StringContent("x", Encoding.UTF8, "application/octet-stream"));
        request.Headers.TryAddWithoutValidation(name, value == "5000" ? new string('x', 5000) : value);

        try
        {
            using var response = await shared.Client.Http.SendAsync(request);
            response.StatusCode.ShouldBe(HttpStatusCode.BadRequest);
        }
        catch (HttpRequestException)
        {
            name.ShouldBe("X-Metadata-a"); // .NET itself sends no such header
        }

        (await _sandbox.RunAsync("ls -A")).Stdout.ShouldBe("");
    }

    [Theory]
    [InlineData("gzip", 200, "gzip")]
    [InlineData("gzip, deflate, br", 200, null)]
    [InlineData("identity;q=0, gzip;q=0.5", 200, "gzip")]
    [InlineData("identity;q=0", 406, null)]
    [InlineData("*;q=0", 406, null)]
    [InlineData("br", 200, null)]
    public async Task The_answer_is_packed_for_those_who_want_nothing_else(string accepted, int status, string? coding)
    {
        await _sandbox.RunAsync("echo hello > f");
        var request = _sandbox.Request(HttpMethod.Get, "/files?path=f");
        request.Headers.TryAddWithoutValidation("Accept-Encoding", accepted);

        using var response = await shared.Client.Http.SendAsync(request);

        ((int)response.StatusCode).ShouldBe(status);
        response.Content.Headers.ContentEncoding.SingleOrDefault().ShouldBe(coding);
    }

    private Task<HttpResponseMessage> ComposeAsync(string body) => _sandbox.SendAsync(HttpMethod.Post, "/files/compose", new StringContent(body, Encoding.UTF8, "application/json"));
}
