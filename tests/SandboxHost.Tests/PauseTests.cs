using System.Diagnostics;
using System.Net;
using System.Text.Json;

namespace InterpreterKernel.SandboxHost.Tests;

public sealed class PauseTests
{
    private const string Counter = "echo on; i=0; while read -r line; do i=$((i+1)); echo \"$i $line\"; done";

    [Fact]
    public async Task A_paused_sandbox_keeps_its_processes_and_answers_as_dead_until_it_is_resumed()
    {
        await using var host = await TestHost.StartAsync();
        var sandbox = await host.Client.CreateAsync("""{"templateID":"base","timeout":100}""");
        await using var stream = await sandbox.StartAsync("echo on; while :; do echo $((i++)) > /tmp/count; done");
        await stream.ReadUntilAsync("on");

        (await PostAsync(host, sandbox, "pause")).StatusCode.ShouldBe(HttpStatusCode.NoContent);

        while (await stream.NextAsync() is not null)
        {
            // What was under way before comes first.
        }

        stream.Error!.Code.ShouldBe(Protocol.Connect.ConnectCode.Unavailable);
        using (var again = await PostAsync(host, sandbox, "pause"))
        {
            again.StatusCode.ShouldBe(HttpStatusCode.Conflict);
            (await HostClient.JsonAsync(again)).GetProperty("message").GetString().ShouldBe($"Error pausing sandbox - sandbox '{sandbox.Id}' is already paused");
        }

        (await sandbox.SendAsync(HttpMethod.Get, "/health")).StatusCode.ShouldBe(HttpStatusCode.BadGateway);
        (await StateAsync(host, sandbox)).ShouldBe("paused");
        (await IdsAsync(host, "?state=paused")).ShouldBe([sandbox.Id]);
        (await IdsAsync(host, "?state=running")).ShouldBeEmpty();
        (await IdsAsync(host, "?state=running,paused")).ShouldBe([sandbox.Id]);
        (await IdsAsync(host, "", "/sandboxes")).ShouldBeEmpty();
        (await PostAsync(host, sandbox, "timeout", """{"timeout":5}""")).StatusCode.ShouldBe(HttpStatusCode.NotFound);

        using (var resumed = await PostAsync(host, sandbox, "connect", """{"timeout":60}""", "/v2"))
        {
            resumed.StatusCode.ShouldBe(HttpStatusCode.Created);
            (await HostClient.JsonAsync(resumed)).GetProperty("envdAccessToken").GetString().ShouldBe(sandbox.Token);
        }

        (await sandbox.RunAsync("a=$(cat /tmp/count); while [ \"$(cat /tmp/count)\" = \"$a\" ]; do :; done; echo goes on")).Stdout.ShouldBe("goes on\n");
        (await PostAsync(host, sandbox, "connect", "", "/v2")).StatusCode.ShouldBe(HttpStatusCode.OK);
        (await PostAsync(host, sandbox, "resume")).StatusCode.ShouldBe(HttpStatusCode.Conflict);
        (await StateAsync(host, sandbox)).ShouldBe("running");
    }

    [Fact]
    public async Task A_paused_process_stands_still_and_is_found_again_by_its_pid()
    {
        await using var host = await TestHost.StartAsync();
        var sandbox = await host.Client.CreateAsync();
        uint pid;
        await using (var stream = await sandbox.StartAsync(Counter, stdin: true))
        await using (var busy = await sandbox.StartAsync("while :; do :; done"))
        {
            await stream.ReadUntilAsync("on");
            pid = stream.Pid;

            // The positive control: while it runs, its processor time grows.
            var running = CpuOf(sandbox);
            await UntilAsync(() => Task.FromResult(CpuOf(sandbox) > running));
            (await PostAsync(host, sandbox, "pause")).StatusCode.ShouldBe(HttpStatusCode.NoContent);
        }

        // That nothing happens can only be seen over a while: twenty ticks of the processor's clock.
        var before = CpuOf(sandbox);
        await Task.Delay(200);
        CpuOf(sandbox).ShouldBe(before);

        (await PostAsync(host, sandbox, "resume")).StatusCode.ShouldBe(HttpStatusCode.Created);
        await using var again = await sandbox.StreamAsync("Connect", new Protocol.Envd.ConnectRequest { Process = new Protocol.Envd.ProcessSelector { Pid = pid } });
        await sandbox.CallAsync("SendInput", new Protocol.Envd.SendInputRequest
        {
            Process = new Protocol.Envd.ProcessSelector { Pid = pid },
            Input = new Protocol.Envd.ProcessInput { Stdin = Google.Protobuf.ByteString.CopyFromUtf8("line\n") },
        });
        await again.ReadUntilAsync("1 line");
    }

    [Fact]
    public async Task A_paused_sandbox_holds_no_slot_and_needs_one_to_come_back()
    {
        await using var host = await TestHost.StartAsync(o => o with { Limit = 1 });
        var first = await host.Client.CreateAsync();
        (await host.Client.PostAsync("/v2/sandboxes", """{"templateID":"base"}""")).StatusCode.ShouldBe(HttpStatusCode.TooManyRequests);
        (await PostAsync(host, first, "pause")).StatusCode.ShouldBe(HttpStatusCode.NoContent);

        var second = await host.Client.CreateAsync();
        using (var refused = await PostAsync(host, first, "connect", "", "/v2"))
        {
            refused.StatusCode.ShouldBe(HttpStatusCode.TooManyRequests);
            refused.Headers.RetryAfter.ShouldBeNull();
        }

        (await StateAsync(host, first)).ShouldBe("paused");
        (await second.KillAsync()).ShouldBe(HttpStatusCode.NoContent);
        (await PostAsync(host, first, "connect", "", "/v2")).StatusCode.ShouldBe(HttpStatusCode.Created);
        (await host.Client.PostAsync("/v2/sandboxes", """{"templateID":"base"}""")).StatusCode.ShouldBe(HttpStatusCode.TooManyRequests);
        (await first.KillAsync()).ShouldBe(HttpStatusCode.NoContent);
        (await (await host.Client.CreateAsync()).KillAsync()).ShouldBe(HttpStatusCode.NoContent);
    }

    [Fact]
    public async Task Killing_a_paused_sandbox_leaves_nothing_and_so_does_the_end_of_the_host()
    {
        await using var host = await TestHost.StartAsync();
        var killed = await host.Client.CreateAsync();
        var left = await host.Client.CreateAsync();
        foreach (var sandbox in (TestSandbox[])[killed, left])
        {
            await using var stream = await sandbox.StartAsync("echo on; sleep 1000");
            await stream.ReadUntilAsync("on");
            (await PostAsync(host, sandbox, "pause")).StatusCode.ShouldBe(HttpStatusCode.NoContent);
        }

        var clock = Stopwatch.StartNew();
        (await killed.KillAsync()).ShouldBe(HttpStatusCode.NoContent);
        clock.Elapsed.ShouldBeLessThan(TimeSpan.FromSeconds(20));

        Traces.Cgroups(killed.Id).ShouldBeEmpty();
        Traces.Processes(killed.Id).ShouldBeEmpty();
        (await killed.KillAsync()).ShouldBe(HttpStatusCode.NotFound);
    }

    [Fact]
    public async Task At_the_end_of_its_time_a_sandbox_is_paused_when_that_was_asked_for_and_traffic_wakes_it()
    {
        var time = new ManualTime();
        await using var host = await TestHost.StartAsync(o => o with { TimeProvider = time });
        var sandbox = await host.Client.CreateAsync("""{"templateID":"base","timeout":30,"autoPause":true,"autoResume":{"enabled":true}}""");
        var lifecycle = (await DetailAsync(host, sandbox)).GetProperty("lifecycle");
        lifecycle.GetProperty("autoResume").GetBoolean().ShouldBeTrue();
        lifecycle.GetProperty("onTimeout").GetString().ShouldBe("pause");

        time.Advance(TimeSpan.FromSeconds(31));
        await UntilAsync(async () => (await StateAsync(host, sandbox)) == "paused");
        (await sandbox.RunAsync("echo awake")).Stdout.ShouldBe("awake\n");

        var detail = await DetailAsync(host, sandbox);
        detail.GetProperty("startedAt").GetDateTimeOffset().ShouldBe(time.GetUtcNow());
        (detail.GetProperty("endAt").GetDateTimeOffset() - time.GetUtcNow()).ShouldBe(TimeSpan.FromMinutes(5));
    }

    [Fact]
    public async Task Pauses_resumes_and_kills_at_once_end_in_order()
    {
        await using var host = await TestHost.StartAsync(o => o with { Limit = 2 });
        var sandbox = await host.Client.CreateAsync();

        var answers = await Task.WhenAll(Enumerable.Range(0, 12).Select(i => PostAsync(host, sandbox, i % 2 == 0 ? "pause" : "connect", "{}")));
        answers.ShouldAllBe(a => (int)a.StatusCode == 200 || (int)a.StatusCode == 201 || (int)a.StatusCode == 204 || (int)a.StatusCode == 409);
        var last = await Task.WhenAll(PostAsync(host, sandbox, "pause"), host.Client.DeleteAsync(sandbox.Id), PostAsync(host, sandbox, "connect", "{}"));
        last[1].StatusCode.ShouldBe(HttpStatusCode.NoContent);

        var after = await Task.WhenAll(Enumerable.Range(0, 3).Select(_ => host.Client.PostAsync("/v2/sandboxes", """{"templateID":"base"}""")));
        after.Count(a => a.StatusCode == HttpStatusCode.Created).ShouldBe(2);
    }

    [Theory]
    [InlineData("pause", """{"memory":false}""", 400)]
    [InlineData("connect", """{"timeout":0}""", 400)]
    [InlineData("connect", """{"memory":false}""", 400)]
    [InlineData("snapshots", "{}", 501)]
    [InlineData("fork", "{}", 501)]
    public async Task What_is_not_built_is_refused_in_clear_words(string what, string body, int status)
    {
        await using var host = await TestHost.StartAsync();
        var sandbox = await host.Client.CreateAsync();

        using var answer = await PostAsync(host, sandbox, what, body);

        ((int)answer.StatusCode).ShouldBe(status);
        (await HostClient.JsonAsync(answer)).GetProperty("code").GetInt32().ShouldBe(status);
        (await StateAsync(host, sandbox)).ShouldBe("running");
    }

    private static Task<HttpResponseMessage> PostAsync(TestHost host, TestSandbox sandbox, string what, string body = "", string version = "") =>
        host.Client.PostAsync($"{version}/sandboxes/{sandbox.Id}/{what}", body);

    private static async Task<JsonElement> DetailAsync(TestHost host, TestSandbox sandbox) => await HostClient.JsonAsync(await host.Client.GetAsync("/sandboxes/" + sandbox.Id));

    private static async Task<string?> StateAsync(TestHost host, TestSandbox sandbox) => (await DetailAsync(host, sandbox)).GetProperty("state").GetString();

    private static async Task<IEnumerable<string?>> IdsAsync(TestHost host, string query, string path = "/v2/sandboxes") =>
        (await HostClient.JsonAsync(await host.Client.GetAsync(path + query))).EnumerateArray().Select(s => s.GetProperty("sandboxID").GetString()).ToList();

    private static long CpuOf(TestSandbox sandbox) =>
        Traces.Processes(sandbox.Id).Select(p => File.ReadAllText(p.Split(' ')[0] + "/stat")).Select(s => s[(s.LastIndexOf(')') + 2)..].Split(' ')).Sum(f => long.Parse(f[11], System.Globalization.CultureInfo.InvariantCulture));

    private static async Task UntilAsync(Func<Task<bool>> condition)
    {
        var clock = Stopwatch.StartNew();
        while (!await condition())
        {
            clock.Elapsed.ShouldBeLessThan(TimeSpan.FromSeconds(10));
            await Task.Yield();
        }
    }
}
