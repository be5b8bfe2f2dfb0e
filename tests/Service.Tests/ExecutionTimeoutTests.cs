using System.Diagnostics;
using InterpreterKernel.Sandbox;

namespace InterpreterKernel.Service.Tests;

/// <summary>The second clock: when a command's time is over, nothing of it runs on (DESIGN 3.3).</summary>
public sealed class ExecutionTimeoutTests : IAsyncLifetime
{
    private ServiceFixture _service = null!;
    private Sandbox.Sandbox _sandbox = null!;

    public async Task InitializeAsync()
    {
        _service = await ServiceFixture.StartAsync();
        _sandbox = await Sandbox.Sandbox.CreateAsync(new SandboxOptions(), _service.Connection);
    }

    public async Task DisposeAsync()
    {
        await _sandbox.DisposeAsync();
        await _service.DisposeAsync();
    }

    [Theory]
    [InlineData("sleep 300 & sleep 300; sleep 300")]
    [InlineData("trap '' TERM INT HUP; while true; do sleep 0.1; done")]
    [InlineData("(trap '' TERM; sleep 300 | sleep 300) & wait")]
    [InlineData("python3 -c 'import signal,time; [signal.signal(s, signal.SIG_IGN) for s in (1, 2, 15)]; time.sleep(300)'")]
    public async Task Nothing_of_a_command_is_alive_a_second_after_its_time(string command)
    {
        var before = await ProcessesAsync();
        var since = Stopwatch.GetTimestamp();
        var over = await Should.ThrowAsync<ExecutionTimeoutException>(
            () => _sandbox.Commands.RunAsync("echo started; " + command, new CommandOptions { Timeout = TimeSpan.FromSeconds(1) }));

        over.Stopped.ShouldBeTrue(over.Message);
        over.Stdout.ShouldBe("started\n");
        Stopwatch.GetElapsedTime(since).ShouldBeLessThan(TimeSpan.FromSeconds(2) * Crowding());
        (await ProcessesAsync()).ShouldBe(before);
    }

    [Fact]
    public async Task Output_that_nobody_stops_is_cut_with_the_command()
    {
        var over = await Should.ThrowAsync<ExecutionTimeoutException>(() => _sandbox.Commands.RunAsync(
            "yes", new CommandOptions { Timeout = TimeSpan.FromSeconds(1), MaxOutputBytes = 1024 }));

        over.Stopped.ShouldBeTrue();
        over.Stdout.ShouldStartWith("y\ny\n");
        over.Stdout.Length.ShouldBeLessThanOrEqualTo(1024);
    }

    /// <summary>How much longer things take at this moment, because the machine has more to do than it has processors.</summary>
    private static double Crowding() =>
        Math.Max(1, double.Parse(File.ReadAllText("/proc/loadavg").Split(' ')[0], System.Globalization.CultureInfo.InvariantCulture) / Environment.ProcessorCount);

    /// <summary>What runs in the sandbox, seen from inside, the looking itself left out.</summary>
    private async Task<string[]> ProcessesAsync()
    {
        var said = await _sandbox.Commands.RunAsync("for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline && echo; done 2>/dev/null");
        return [.. said.Stdout.Split('\n').Select(l => l.Trim()).Where(l => l.Length > 0 && !l.Contains("/proc/", StringComparison.Ordinal) && !l.StartsWith("tr ", StringComparison.Ordinal))];
    }
}
