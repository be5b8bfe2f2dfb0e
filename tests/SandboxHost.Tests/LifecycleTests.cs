using System.Net;

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
}
