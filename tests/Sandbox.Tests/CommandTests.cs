using System.Text;
using InterpreterKernel.Sandbox.Tests.Support;

namespace InterpreterKernel.Sandbox.Tests;

/// <summary>Commands, with real processes behind a fake daemon that is as simple as envd.</summary>
public sealed class CommandTests : IAsyncLifetime
{
    private LocalEnvd _envd = null!;
    private Commands _commands = null!;

    public async Task InitializeAsync()
    {
        _envd = await LocalEnvd.StartAsync();
        _commands = _envd.Service.Attach().Commands;
    }

    public async Task DisposeAsync() => await _envd.DisposeAsync();

    [Fact]
    public async Task A_command_gives_its_output_and_its_exit_code()
    {
        var pieces = new StringBuilder();
        var result = await _commands.RunAsync("echo out $A; echo err >&2; pwd; exit 3", new CommandOptions
        {
            Envs = new Dictionary<string, string> { ["A"] = "x y" },
            Cwd = "/tmp",
            OnStdout = text => pieces.Append(text),
        });

        result.ShouldBe(new CommandResult(3, "out x y\n/tmp\n", "err\n", null));
        pieces.ToString().ShouldBe(result.Stdout);
        Should.Throw<CommandExitException>(() => result.EnsureSuccess()).Message.ShouldContain("err");
        (await _commands.RunAsync("true")).EnsureSuccess().ExitCode.ShouldBe(0);
        _envd.Service.Requests.First().Headers["Connect-Timeout-Ms"].ShouldBe("65000");
    }

    [Fact]
    public async Task Characters_cut_between_two_pieces_stay_whole()
    {
        await using var service = await FakeService.StartAsync();
        var text = "grüße 🎉 wörld";
        var bytes = Encoding.UTF8.GetBytes(text);
        service.On("POST /process.Process/Start", c => c.StreamAsync(
            [Wire.Start(), .. bytes.Select(b => Wire.Stdout([b])), Wire.Stderr([0xC3]), Wire.Ended(0), Wire.EndOfStream]));
        var pieces = new List<string>();

        var result = await service.Attach().Commands.RunAsync("x", new CommandOptions { OnStdout = pieces.Add });

        result.Stdout.ShouldBe(text);
        string.Concat(pieces).ShouldBe(text);
        pieces.ShouldNotContain(p => p.Contains('\uFFFD'));
        result.Stderr.ShouldBe("\uFFFD");
    }

    [Fact]
    public async Task Output_over_the_bound_is_thrown_away_and_told()
    {
        var seen = 0;
        var result = await _commands.RunAsync("head -c 300000 /dev/zero | tr '\\0' x", new CommandOptions { MaxOutputBytes = 100_000, OnStdout = t => seen += t.Length });

        result.Truncated.ShouldBeTrue();
        result.Stdout.Length.ShouldBeLessThanOrEqualTo(100_000);
        seen.ShouldBe(300_000);
    }

    [Theory]
    [InlineData("sleep 300 & sleep 300; sleep 300")]
    [InlineData("trap '' TERM INT HUP; sleep 300; sleep 300")]
    [InlineData("set -m; sleep 300 & sleep 300 | sleep 300")]
    [InlineData("setsid sleep 300; true")]
    [InlineData("sleep 300 >/dev/null 2>&1 </dev/null & disown; sleep 300")]
    public async Task After_an_execution_timeout_nothing_of_the_command_runs(string command)
    {
        var mark = "ik-" + Guid.NewGuid().ToString("N");
        var started = new TaskCompletionSource();
        var time = new ManualTime();
        var commands = _envd.Service.Attach(_envd.Service.Connection with { TimeProvider = time }).Commands;

        var running = commands.RunAsync($"echo begun; {command}", new CommandOptions
        {
            Timeout = TimeSpan.FromSeconds(10),
            Envs = new Dictionary<string, string> { ["IK_MARK"] = mark },
            OnStdout = _ => started.TrySetResult(),
        });
        await started.Task.WaitAsync(TimeSpan.FromSeconds(20));
        await Until(() => Marked(mark) >= 2);
        time.Advance(TimeSpan.FromSeconds(10));

        var fault = await Should.ThrowAsync<ExecutionTimeoutException>(() => running);
        fault.Stopped.ShouldBeTrue();
        fault.Timeout.ShouldBe(TimeSpan.FromSeconds(10));
        fault.Stdout.ShouldBe("begun\n");
        fault.Message.ShouldContain("everything it had started were killed");
        Marked(mark).ShouldBe(0);
    }

    [Fact]
    public async Task Cancelling_stops_the_command_too()
    {
        var mark = "ik-" + Guid.NewGuid().ToString("N");
        using var cancel = new CancellationTokenSource();

        var running = _commands.RunAsync("sleep 300 & sleep 300", new CommandOptions { Envs = new Dictionary<string, string> { ["IK_MARK"] = mark } }, cancel.Token);
        await Until(() => Marked(mark) >= 2);
        await cancel.CancelAsync();

        (await Should.ThrowAsync<OperationCanceledException>(() => running)).CancellationToken.ShouldBe(cancel.Token);
        Marked(mark).ShouldBe(0);
    }

    [Fact]
    public async Task A_callback_that_fails_stops_the_command_and_comes_through()
    {
        var mark = "ik-" + Guid.NewGuid().ToString("N");
        var running = _commands.RunAsync("echo x; sleep 300", new CommandOptions
        {
            Envs = new Dictionary<string, string> { ["IK_MARK"] = mark },
            OnStdout = _ => throw new FormatException("mine"),
        });

        (await Should.ThrowAsync<FormatException>(() => running)).Message.ShouldBe("mine");
        Marked(mark).ShouldBe(0);
    }

    [Fact]
    public async Task When_stopping_fails_the_exception_says_so()
    {
        var time = new ManualTime();
        await using var service = await FakeService.StartAsync();
        var starts = 0;
        service.On("POST /process.Process/Start", async context =>
        {
            if (++starts > 1)
            {
                context.Response.StatusCode = 500;
                return;
            }

            await context.StreamAsync(Wire.Start());
            await context.StayOpenAsync();
        });

        var running = service.Attach(service.Connection with { TimeProvider = time })
            .Commands.RunAsync("x", new CommandOptions { Timeout = TimeSpan.FromSeconds(10) });
        await time.WhenDueInAsync(TimeSpan.FromSeconds(10));
        time.Advance(TimeSpan.FromSeconds(10));

        var fault = await Should.ThrowAsync<ExecutionTimeoutException>(() => running);
        fault.Stopped.ShouldBeFalse();
        fault.Message.ShouldContain("kill the sandbox");
    }

    [Fact]
    public async Task A_background_command_is_killed_with_all_it_started()
    {
        var mark = "ik-" + Guid.NewGuid().ToString("N");
        await using var process = await _commands.StartAsync("sleep 300 & sleep 300", new CommandOptions { Envs = new Dictionary<string, string> { ["IK_MARK"] = mark } });
        await Until(() => Marked(mark) >= 2);
        _envd.Service.Requests.Single().Headers.ContainsKey("Connect-Timeout-Ms").ShouldBeFalse();

        (await process.KillTreeAsync()).ShouldBeTrue();
        Marked(mark).ShouldBe(0);
        (await process.WaitAsync()).ExitCode.ShouldNotBe(0);
        (await process.KillAsync()).ShouldBeFalse();
    }

    [Fact]
    public async Task Lists_show_the_command_and_not_what_it_is_wrapped_in()
    {
        await _commands.RunAsync("true");

        var shown = (await _commands.ListAsync()).Single();
        shown.Cmd.ShouldBe("/bin/bash");
        shown.Args.ShouldBe(["-l", "-c", "true"]);
    }

    // Processes whose environment carries the mark: whatever group, session or parent they have by now.
    private static int Marked(string mark) => Directory.EnumerateDirectories("/proc")
        .Where(d => char.IsAsciiDigit(Path.GetFileName(d)[0]))
        .Count(d =>
        {
            try
            {
                return File.ReadAllText(d + "/environ").Contains(mark, StringComparison.Ordinal) && !File.ReadAllText(d + "/stat").Contains(") Z ", StringComparison.Ordinal);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                return false; // it went away meanwhile
            }
        });

    private static async Task Until(Func<bool> condition)
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(20));
        using var tick = new PeriodicTimer(TimeSpan.FromMilliseconds(10));
        while (!condition())
        {
            await tick.WaitForNextTickAsync(limit.Token);
        }
    }
}
