using System.Diagnostics;
using System.Net;
using Google.Protobuf;
using InterpreterKernel.Protocol.Envd;

namespace InterpreterKernel.SandboxHost.Tests;

public sealed class LifecycleTests
{
    [Fact]
    public async Task A_sandbox_runs_a_program_and_is_gone_after_the_kill()
    {
        await using var host = await TestHost.StartAsync();
        var sandbox = await host.Client.CreateAsync();

        var result = await sandbox.RunAsync("echo hi; echo oops >&2; id -un; hostname; pwd; exit 7");

        result.ShouldBe(new TestResult("hi\nuser\nsandbox\n/home/user\n", "oops\n", 7, true, "exit status 7", "exit status 7"));
        Traces.Cgroups(sandbox.Id).ShouldNotBeEmpty();
        Traces.Processes(sandbox.Id).ShouldNotBeEmpty();
        (await sandbox.KillAsync()).ShouldBe(HttpStatusCode.NoContent);
        Traces.Cgroups(sandbox.Id).ShouldBeEmpty();
        Traces.Processes(sandbox.Id).ShouldBeEmpty();
        (await sandbox.KillAsync()).ShouldBe(HttpStatusCode.NotFound);
    }

    [Fact]
    public async Task The_limit_is_answered_as_E2B_words_it_and_a_kill_frees_the_slot_before_its_answer()
    {
        await using var host = await TestHost.StartAsync(o => o with { Limit = 2 });
        var first = await host.Client.CreateAsync();
        await host.Client.CreateAsync();

        using (var refused = await host.Client.PostAsync("/v2/sandboxes", """{"templateID":"base"}"""))
        {
            refused.StatusCode.ShouldBe(HttpStatusCode.TooManyRequests);
            refused.Headers.RetryAfter.ShouldBeNull();
            var body = await HostClient.JsonAsync(refused);
            body.GetProperty("code").GetInt32().ShouldBe(429);
            body.GetProperty("message").GetString().ShouldBe(
                "you have reached the maximum number of concurrent E2B sandboxes (2). If you need more, please visit 'https://e2b.dev/docs/billing'");
        }

        (await first.KillAsync()).ShouldBe(HttpStatusCode.NoContent);
        await host.Client.CreateAsync();
    }

    [Fact]
    public async Task Many_creates_at_once_never_pass_the_limit()
    {
        await using var host = await TestHost.StartAsync(o => o with { Limit = 3 });

        var answers = await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => host.Client.PostAsync("/v2/sandboxes", """{"templateID":"base"}""")));

        answers.Count(a => a.StatusCode == HttpStatusCode.Created).ShouldBe(3);
        answers.Count(a => a.StatusCode == HttpStatusCode.TooManyRequests).ShouldBe(5);
    }

    [Fact]
    public async Task A_sandbox_whose_time_is_over_is_killed_and_its_streams_are_cut()
    {
        var time = new ManualTime();
        await using var host = await TestHost.StartAsync(o => o with { TimeProvider = time });
        var sandbox = await host.Client.CreateAsync("""{"templateID":"base","timeout":30}""");
        await using var stream = await sandbox.StartAsync("echo on; sleep 1000");
        await stream.ReadUntilAsync("on");

        time.Advance(TimeSpan.FromSeconds(29));
        (await host.Client.GetAsync("/sandboxes/" + sandbox.Id)).StatusCode.ShouldBe(HttpStatusCode.OK);
        time.Advance(TimeSpan.FromSeconds(2));

        await Should.ThrowAsync<Exception>(async () => await stream.ReadToEndAsync());
        stream.Ended.ShouldBeFalse();
        (await sandbox.KillAsync()).ShouldBeOneOf(HttpStatusCode.NoContent, HttpStatusCode.NotFound);
        Traces.Processes(sandbox.Id).ShouldBeEmpty();
    }

    [Fact]
    public async Task A_timeout_may_shorten_and_refreshes_and_connect_only_extend()
    {
        var time = new ManualTime();
        await using var host = await TestHost.StartAsync(o => o with { TimeProvider = time, MaxLifetime = TimeSpan.FromHours(1) });
        var sandbox = await host.Client.CreateAsync("""{"templateID":"base","timeout":300}""");
        var start = time.GetUtcNow();
        async Task<double> LeftAsync() => ((await HostClient.JsonAsync(await host.Client.GetAsync("/sandboxes/" + sandbox.Id))).GetProperty("endAt").GetDateTimeOffset() - start).TotalSeconds;

        (await LeftAsync()).ShouldBe(300);
        (await host.Client.PostAsync($"/sandboxes/{sandbox.Id}/refreshes", """{"duration":60}""")).StatusCode.ShouldBe(HttpStatusCode.NoContent);
        (await LeftAsync()).ShouldBe(300);
        (await host.Client.PostAsync($"/sandboxes/{sandbox.Id}/timeout", """{"timeout":60}""")).StatusCode.ShouldBe(HttpStatusCode.NoContent);
        (await LeftAsync()).ShouldBe(60);
        (await host.Client.PostAsync($"/v2/sandboxes/{sandbox.Id}/connect", "")).StatusCode.ShouldBe(HttpStatusCode.OK);
        (await LeftAsync()).ShouldBe(300);
        (await host.Client.PostAsync($"/sandboxes/{sandbox.Id}/connect", """{"timeout":10}""")).StatusCode.ShouldBe(HttpStatusCode.OK);
        (await LeftAsync()).ShouldBe(300);
        (await host.Client.PostAsync($"/sandboxes/{sandbox.Id}/timeout", """{"timeout":999999}""")).StatusCode.ShouldBe(HttpStatusCode.NoContent);
        (await LeftAsync()).ShouldBe(3600);
        (await host.Client.PostAsync($"/sandboxes/{sandbox.Id}/timeout", """{"timeout":-5}""")).StatusCode.ShouldBe(HttpStatusCode.NoContent);
        time.Advance(TimeSpan.FromMilliseconds(1));
        (await host.Client.DeleteAsync(sandbox.Id)).StatusCode.ShouldBeOneOf(HttpStatusCode.NoContent, HttpStatusCode.NotFound);
    }

    [Fact]
    public async Task A_kill_cuts_open_streams_and_inputs_at_once()
    {
        await using var host = await TestHost.StartAsync();
        var sandbox = await host.Client.CreateAsync();
        await using var stream = await sandbox.StartAsync("trap '' TERM HUP INT; echo on; while :; do sleep 1000; done");
        await stream.ReadUntilAsync("on");
        var stuck = await sandbox.StreamAsync("Start", new StartRequest { Process = new ProcessConfig { Cmd = "sleep", Args = { "1000" } } });
        var input = sandbox.CallAsync("SendInput", new SendInputRequest
        {
            Process = new ProcessSelector { Pid = stuck.Pid },
            Input = new ProcessInput { Stdin = ByteString.CopyFrom(new byte[1 << 20]) },
        });

        var clock = Stopwatch.StartNew();
        (await sandbox.KillAsync()).ShouldBe(HttpStatusCode.NoContent);
        await Should.ThrowAsync<Exception>(async () => await stream.ReadToEndAsync());
        try
        {
            // On a busy machine it may have come only after the kill.
            (await input).StatusCode.ShouldBe(HttpStatusCode.BadGateway);
        }
        catch (HttpRequestException)
        {
            input.IsFaulted.ShouldBeTrue();
        }

        clock.Elapsed.ShouldBeLessThan(TimeSpan.FromSeconds(10));
        await stuck.DisposeAsync();
    }

    [Fact]
    public async Task A_sandbox_whose_first_process_dies_is_removed()
    {
        await using var host = await TestHost.StartAsync();
        var sandbox = await host.Client.CreateAsync();
        await using var stream = await sandbox.StartAsync("echo on; sleep 1000");
        var pid = Traces.Processes(sandbox.Id).Select(p => int.Parse(p.Split(' ')[0]["/proc/".Length..], System.Globalization.CultureInfo.InvariantCulture)).Min();

        Process.GetProcessById(pid).Kill();

        await Should.ThrowAsync<Exception>(async () => await stream.ReadToEndAsync());
        (await sandbox.KillAsync()).ShouldBeOneOf(HttpStatusCode.NoContent, HttpStatusCode.NotFound);
        (await HostClient.JsonAsync(await host.Client.GetAsync("/v2/sandboxes"))).GetArrayLength().ShouldBe(0);
    }

    [Fact]
    public async Task Two_kills_at_once_both_end_when_it_is_gone()
    {
        await using var host = await TestHost.StartAsync();
        var sandbox = await host.Client.CreateAsync();

        var answers = await Task.WhenAll(sandbox.KillAsync(), sandbox.KillAsync(), sandbox.KillAsync());

        answers.ShouldContain(HttpStatusCode.NoContent);
        Traces.Processes(sandbox.Id).ShouldBeEmpty();
    }

    [Fact]
    public async Task A_creator_that_leaves_before_the_answer_leaves_nothing_behind()
    {
        await using var host = await TestHost.StartAsync(o => o with { Limit = 1 });
        using (var impatient = new CancellationTokenSource())
        {
            var create = host.Client.Http.PostAsync(
                new Uri("/v2/sandboxes", UriKind.Relative), new StringContent("""{"templateID":"base"}"""), impatient.Token);
            while (!Traces.Sandboxes(host.Options.StateDirectory).Any() && !create.IsCompleted)
            {
                await Task.Yield();
            }

            await impatient.CancelAsync();
            await Should.ThrowAsync<OperationCanceledException>(async () => (await create).Dispose());
        }

        // The slot is free again as soon as the host has noticed; DisposeAsync sees to it that nothing else is left.
        HttpStatusCode status;
        var clock = Stopwatch.StartNew();
        do
        {
            status = (await host.Client.PostAsync("/v2/sandboxes", """{"templateID":"base"}""")).StatusCode;
        }
        while (status == HttpStatusCode.TooManyRequests && clock.Elapsed < TimeSpan.FromSeconds(10));
        status.ShouldBe(HttpStatusCode.Created);
    }

    [Fact]
    public async Task A_second_host_on_the_same_state_is_refused()
    {
        await using var host = await TestHost.StartAsync();

        var refusal = await Should.ThrowAsync<SandboxHostException>(async () =>
            await SandboxHostApp.StartAsync(host.Options with { UnixSocket = host.Options.UnixSocket + "2" }, host.Log, CancellationToken.None));

        refusal.Reason.ShouldBe(SandboxHostFault.InUse);
        (await SandboxHostApp.SweepAsync(host.Options.StateDirectory, CancellationToken.None)).ShouldBe(0);
        var sandbox = await host.Client.CreateAsync();
        (await sandbox.RunAsync("echo fine")).Stdout.ShouldBe("fine\n");
    }

    [Fact]
    public async Task All_faults_of_the_options_are_told_at_once()
    {
        var options = new SandboxHostOptions { StateDirectory = "relative", Limit = 0, ListenUrl = new Uri("http://127.0.0.1:0"), AllowNetwork = true };

        var refusal = await Should.ThrowAsync<SandboxHostException>(async () => await SandboxHostApp.StartAsync(options, new TestLog(), CancellationToken.None));

        refusal.Reason.ShouldBe(SandboxHostFault.Options);
        foreach (var name in (string[])["StateDirectory", "Limit", "ApiKey", "AllowNetwork"])
        {
            refusal.Message.ShouldContain(name);
        }
    }

    [Fact]
    public async Task A_template_python_that_is_none_stops_the_start_and_leaves_nothing()
    {
        var directory = Directory.CreateTempSubdirectory("ik-host-").FullName;
        var options = new SandboxHostOptions { StateDirectory = directory + "/state", UnixSocket = directory + "/s", Python = "/bin/true" };

        var refusal = await Should.ThrowAsync<SandboxHostException>(async () => await SandboxHostApp.StartAsync(options, new TestLog(), CancellationToken.None));

        refusal.Reason.ShouldBe(SandboxHostFault.Template);
        refusal.Message.ShouldContain("/bin/true");
        Directory.Delete(directory, recursive: true);
        Traces.Of(options.StateDirectory).ShouldBeEmpty();
    }

    [Fact]
    public void Checks_pass_here_and_name_what_is_missing_elsewhere()
    {
        var options = new SandboxHostOptions { StateDirectory = "/tmp/x", UnixSocket = "/tmp/x/s" };

        SandboxHostApp.Check(options).ShouldAllBe(check => check.Ok);
        var missing = SandboxHostApp.Check(options with { Runtime = "/nonexistent/runc", Python = "/nonexistent/python" }).Where(c => !c.Ok).ToList();
        missing.Select(c => c.Name).ShouldBe(["OCI runtime", "template"]);
        missing.ShouldAllBe(c => c.Mend != null && c.Required);
    }
}
