using System.Diagnostics;
using System.Globalization;
using Xunit.Abstractions;

namespace InterpreterKernel.Broker.Tests;

/// <summary>Real processes: the launcher, the broker it launches, and those who race for it.</summary>
public sealed class BrokerLauncherTests(ITestOutputHelper output) : IAsyncLifetime
{
    private readonly TestDirectory _directory = new();

    public Task InitializeAsync() => Task.CompletedTask;

    public async Task DisposeAsync()
    {
        if (await BrokerApp.AnswersAsync(_directory.Runtime, CancellationToken.None))
        {
            using var client = new BrokerClient(_directory.Runtime);
            try
            {
                await client.ShutDownAsync(force: true);
            }
            catch (BrokerException e) when (e.Fault == BrokerFault.Unreachable)
            {
                output.WriteLine($"it was going already: {e.Message}");
            }
        }

        if (Directory.Exists(_directory.Runtime.InstancesPath))
        {
            await _directory.ShouldBeLeftCleanAsync();
        }

        _directory.Dispose();
    }

    [Fact]
    public async Task The_first_claim_starts_a_broker_outside_of_our_process_tree_session_and_group()
    {
        using var client = new BrokerClient(_directory.Runtime, TestProcess.LauncherFor(_directory.Runtime, "broker"));
        var started = Stopwatch.StartNew();
        await using var claim = await client.ClaimAsync(TestDesk.Request());
        output.WriteLine($"no broker to open claim: {started.ElapsedMilliseconds} ms (not ReadyToRun)");
        var pid = (await client.StatusAsync()).Pid;

        // "pid (name) state ppid pgrp session"; the name is dotnet's.
        var stat = (await File.ReadAllTextAsync($"/proc/{pid}/stat")).Split(' ');
        var own = (await File.ReadAllTextAsync("/proc/self/stat")).Split(' ');
        stat[3].ShouldNotBe(Environment.ProcessId.ToString(CultureInfo.InvariantCulture));
        stat[4].ShouldNotBe(own[4]);
        stat[5].ShouldNotBe(own[5]);
        Directory.ResolveLinkTarget($"/proc/{pid}/cwd", false)!.FullName.ShouldBe("/");
        foreach (var descriptor in (int[])[0, 1])
        {
            File.ResolveLinkTarget($"/proc/{pid}/fd/{descriptor}", false)!.FullName.ShouldBe("/dev/null");
        }

        File.ResolveLinkTarget($"/proc/{pid}/fd/2", false)!.FullName.ShouldBe(_directory.Runtime.LogPath);
    }

    [Fact]
    public async Task A_broker_does_not_inherit_keys()
    {
        Environment.SetEnvironmentVariable("E2B_API_KEY", "e2b_very_secret");
        try
        {
            await TestProcess.LauncherFor(_directory.Runtime, "broker").EnsureRunningAsync();
        }
        finally
        {
            Environment.SetEnvironmentVariable("E2B_API_KEY", null);
        }

        using var client = new BrokerClient(_directory.Runtime);
        var pid = (await client.StatusAsync()).Pid;
        (await File.ReadAllTextAsync($"/proc/{pid}/environ")).ShouldNotContain("e2b_very_secret");
    }

    [Fact]
    public async Task Twenty_processes_that_launch_at_once_get_one_broker()
    {
        var racers = Enumerable.Range(0, 20).Select(_ => TestProcess.Start(_directory.Runtime, "launch")).ToList();
        HashSet<string?> pids = [];
        foreach (var racer in racers)
        {
            pids.Add(await racer.ReadLineAsync());
            (await racer.EndAsync()).ShouldBe(0);
            await racer.DisposeAsync();
        }

        pids.Count.ShouldBe(1);
        (await File.ReadAllLinesAsync(_directory.Runtime.LogPath)).Count(l => l.Contains("serves", StringComparison.Ordinal)).ShouldBe(1);
    }

    [Fact]
    public async Task Brokers_that_are_started_by_hand_all_at_once_leave_one_that_serves()
    {
        var brokers = Enumerable.Range(0, 6).Select(_ => TestProcess.Start(_directory.Runtime, "broker")).ToList();
        var ended = brokers.Select(b => b.EndAsync()).ToList();
        for (var i = 0; i < 5; i++)
        {
            var done = await Task.WhenAny(ended).WaitAsync(Bound.Default);
            ended.Remove(done);
            (await done).ShouldBe(0);
        }

        using var client = new BrokerClient(_directory.Runtime);
        brokers.Select(b => b.Pid).ShouldContain((await client.StatusAsync()).Pid);
        await client.ShutDownAsync();
        (await ended.Single()).ShouldBe(0);
        await _directory.ShouldBeLeftCleanAsync();
    }

    [Fact]
    public async Task A_broker_that_cannot_start_leaves_its_reason_in_the_exception()
    {
        var launcher = TestProcess.LauncherFor(_directory.Runtime, "broken");
        await File.WriteAllTextAsync(_directory.Runtime.LogPath, "an older line\n");

        var failed = await Should.ThrowAsync<BrokerException>(() => launcher.EnsureRunningAsync());

        failed.Fault.ShouldBe(BrokerFault.StartFailed);
        failed.Message.ShouldContain("libzmq is missing: install libzmq5");
        failed.Message.ShouldNotContain("an older line");
    }

    [Fact]
    public async Task A_broker_program_that_does_not_exist_is_named()
    {
        var launcher = new BrokerLauncher(_directory.Runtime, ["/nowhere/interpreter-kernel", "broker"]);
        (await Should.ThrowAsync<BrokerException>(() => launcher.EnsureRunningAsync())).Message.ShouldContain("/nowhere/interpreter-kernel");
    }

    [Fact]
    public async Task A_broker_that_never_serves_is_given_up_with_its_log()
    {
        var pidFile = Path.Combine(_directory.Root, "pid");
        var launcher = new BrokerLauncher(
            _directory.Runtime,
            ["/bin/sh", "-c", "echo waiting for the tide >&2; echo $$ > \"$1\"; exec sleep 60", "sh", pidFile],
            TimeSpan.FromSeconds(2));
        var failed = await Should.ThrowAsync<BrokerException>(() => launcher.EnsureRunningAsync());
        failed.Message.ShouldContain("does not serve after 2 s");
        failed.Message.ShouldContain("waiting for the tide");
        using var late = Process.GetProcessById(int.Parse(await File.ReadAllTextAsync(pidFile), CultureInfo.InvariantCulture));
        late.Kill();
    }

    [Fact]
    public async Task SIGTERM_kills_the_sandboxes_tells_the_claims_and_leaves_nothing()
    {
        using var client = new BrokerClient(_directory.Runtime, TestProcess.LauncherFor(_directory.Runtime, "broker"));
        await using var claim = await client.ClaimAsync(TestDesk.Request());
        var events = claim.ReadEventsAsync().GetAsyncEnumerator();
        while (await events.MoveNextAsync() && events.Current.Event != ClaimEvents.Ready)
        {
        }

        var pid = (await client.StatusAsync()).Pid;
        using (var kill = Process.Start("/bin/kill", ["-TERM", pid.ToString(CultureInfo.InvariantCulture)]))
        {
            await kill.WaitForExitAsync();
        }

        (await events.MoveNextAsync()).ShouldBeTrue();
        events.Current.Reason.ShouldBe(ClaimReasons.Stopping);
        await events.DisposeAsync();
        await _directory.ShouldBeLeftCleanAsync();
        (await File.ReadAllTextAsync(_directory.Runtime.LogPath)).ShouldNotContain("Unexpected");
    }

    [Fact]
    public async Task After_a_SIGKILL_the_claim_hears_it_and_the_next_claim_starts_a_new_broker_that_knows_the_dead_one()
    {
        using var client = new BrokerClient(_directory.Runtime, TestProcess.LauncherFor(_directory.Runtime, "broker"));
        var claim = await client.ClaimAsync(TestDesk.Request());
        var pid = (await client.StatusAsync()).Pid;
        var dead = Directory.EnumerateFiles(_directory.Runtime.InstancesPath).ShouldHaveSingleItem();
        using (var process = Process.GetProcessById(pid))
        {
            process.Kill();
        }

        List<ClaimEvent> events = [];
        await foreach (var news in claim.ReadEventsAsync())
        {
            events.Add(news);
        }

        events[^1].Reason.ShouldBe(ClaimReasons.Broker);
        await claim.DisposeAsync();

        await using (await client.ClaimAsync(TestDesk.Request()))
        {
            (await client.StatusAsync()).Pid.ShouldNotBe(pid);
            Directory.EnumerateFiles(_directory.Runtime.InstancesPath).Count().ShouldBe(2);
        }

        // Its sandboxes are swept only when their account's key comes along; until then the record stays.
        File.Delete(dead);
    }

    [Fact]
    public async Task A_claim_that_comes_while_the_broker_stops_gets_the_next_broker()
    {
        using var client = new BrokerClient(_directory.Runtime, TestProcess.LauncherFor(_directory.Runtime, "broker"));
        HashSet<int> pids = [];
        for (var i = 0; i < 4; i++)
        {
            await using (await client.ClaimAsync(TestDesk.Request()))
            {
                pids.Add((await client.StatusAsync()).Pid);
                await client.ShutDownAsync(force: true);
            }
        }

        pids.Count.ShouldBe(4);
    }
}
