using System.Diagnostics;
using System.Net;

namespace InterpreterKernel.SandboxHost.Tests;

/// <summary>A host in a process of its own: killed without warning, or run by an ordinary user.</summary>
public sealed class HostProcessTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("ik-host-").FullName;

    private string State => Path.Combine(_directory, "state");

    private string Socket => Path.Combine(_directory, "s");

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public async Task Sandboxes_die_with_a_host_that_is_killed_and_the_sweep_removes_the_rest()
    {
        using var host = await StartAsync([]);
        using var client = new HostClient(TestHost.Connect(Socket));
        var sandbox = await client.CreateAsync();
        await using var stream = await sandbox.StartAsync("trap '' HUP TERM; setsid sleep 1000 & sleep 1000");
        Traces.Processes(sandbox.Id).Count().ShouldBeGreaterThan(2);

        host.Kill();
        await host.WaitForExitAsync();

        await GoneAsync(() => Traces.Processes(sandbox.Id));
        Traces.Of(State).ShouldNotBeEmpty();
        (await SandboxHostApp.SweepAsync(State, CancellationToken.None)).ShouldBe(1);
        Traces.Of(State).ShouldBeEmpty();
        (await SandboxHostApp.SweepAsync(State, CancellationToken.None)).ShouldBe(0);
    }

    [Fact]
    public async Task A_paused_sandbox_of_a_host_that_is_killed_goes_with_the_sweep()
    {
        using var host = await StartAsync([]);
        using var client = new HostClient(TestHost.Connect(Socket));
        var sandbox = await client.CreateAsync();
        await using var stream = await sandbox.StartAsync("echo on; sleep 1000");
        await stream.ReadUntilAsync("on");
        (await client.PostAsync($"/sandboxes/{sandbox.Id}/pause", "{}")).StatusCode.ShouldBe(HttpStatusCode.NoContent);

        host.Kill();
        await host.WaitForExitAsync();

        (await SandboxHostApp.SweepAsync(State, CancellationToken.None)).ShouldBe(1);
        Traces.Of(State).ShouldBeEmpty();
    }

    [Fact]
    public async Task The_watchdog_sweeps_after_a_host_that_is_killed()
    {
        using var host = await StartAsync([], ("TEST_WATCHDOG", $"{Environment.ProcessPath} {Assembly} sweep {State}"));
        using var client = new HostClient(TestHost.Connect(Socket));
        await client.CreateAsync();
        await client.CreateAsync();

        host.Kill();
        await host.WaitForExitAsync();

        await GoneAsync(() => Traces.Of(State));
    }

    [Fact]
    public async Task The_next_host_sweeps_what_a_killed_one_left_and_an_orderly_end_leaves_nothing()
    {
        using (var killed = await StartAsync([]))
        {
            using var client = new HostClient(TestHost.Connect(Socket));
            await client.CreateAsync();
            killed.Kill();
            await killed.WaitForExitAsync();
        }

        using var next = await StartAsync([], ("TEST_WATCHDOG", "/bin/false"));
        using var again = new HostClient(TestHost.Connect(Socket));
        (await HostClient.JsonAsync(await again.GetAsync("/v2/sandboxes"))).GetArrayLength().ShouldBe(0);
        var sandbox = await again.CreateAsync();
        (await sandbox.RunAsync("echo on")).Stdout.ShouldBe("on\n");

        next.StandardInput.Close();
        await next.WaitForExitAsync();

        next.ExitCode.ShouldBe(0);
        Traces.Of(State).ShouldBeEmpty();
        File.Exists(Socket).ShouldBeFalse();
    }

    [Fact]
    public async Task A_host_keeps_no_descriptor_of_what_is_over()
    {
        using var host = await StartAsync([]);
        using var client = new HostClient(TestHost.Connect(Socket));
        int Descriptors() => Directory.EnumerateFileSystemEntries($"/proc/{host.Id}/fd").Count(fd => !(new FileInfo(fd).LinkTarget ?? "").EndsWith(".dll", StringComparison.Ordinal));
        async Task WorkAsync(int times)
        {
            var sandbox = await client.CreateAsync();
            for (var i = 0; i < times; i++)
            {
                (await sandbox.RunAsync("cat; echo x >&2")).ExitCode.ShouldBe(0);
                await using (await sandbox.StartAsync("cat", stdin: true))
                {
                    using var file = await sandbox.SendAsync(HttpMethod.Post, "/files?path=f", new StringContent("x"));
                    using var missing = await sandbox.SendAsync(HttpMethod.Get, "/files?path=none");
                    using var port = sandbox.Request(HttpMethod.Get, "/");
                    port.Headers.Remove("E2b-Sandbox-Port");
                    port.Headers.Add("E2b-Sandbox-Port", i % 2 == 0 ? "49999" : "8080");
                    using var forwarded = await client.Http.SendAsync(port);
                }
            }

            await sandbox.KillAsync();
        }

        await WorkAsync(2);
        var before = Descriptors();
        await WorkAsync(25);

        Descriptors().ShouldBeLessThanOrEqualTo(before + 4);
        host.StandardInput.Close();
        await host.WaitForExitAsync();
    }

    [Fact]
    public async Task An_ordinary_user_is_refused_by_name_of_what_can_not_be_limited()
    {
        using var host = Spawn(Rootless(), State, Socket);
        var errors = await host.StandardError.ReadToEndAsync();
        await host.WaitForExitAsync();

        host.ExitCode.ShouldNotBe(0);
        foreach (var limit in (string[])["limit on memory", "limit on pids", "limit on cpu", "AcceptUnenforced"])
        {
            errors.ShouldContain(limit);
        }
    }

    [Fact]
    public async Task An_ordinary_user_gets_sandboxes_that_are_isolated_all_the_same()
    {
        using var host = await StartAsync(Rootless(), accepted: "memory,pids,cpu");
        using var client = new HostClient(TestHost.Connect(Socket));
        var sandbox = await client.CreateAsync();

        (await sandbox.RunAsync("id -un; hostname; pwd; grep CapEff /proc/self/status | cut -f2; touch /usr/x /etc/x 2>/dev/null || echo read-only")).Stdout.ShouldBe(
            "user\nsandbox\n/home/user\n0000000000000000\nread-only\n");
        (await sandbox.RunAsync("ls /proc | grep -c '^[0-9]'; tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '")).Stdout.ShouldMatch("^[1-9]\nlo\n$");
        (await sandbox.RunAsync("ls -A /home /root /run; cat /etc/shadow")).ExitCode.ShouldBe(1);
        (await sandbox.RunAsync("head -c 2G /dev/zero > big; rm big")).Stderr.ShouldContain("No space left");
        (await sandbox.PythonAsync("x=[]\ntry:\n while True: x.append(bytearray(64<<20))\nexcept MemoryError: print('no memory')")).Stdout.ShouldBe("no memory\n");
        (await sandbox.PythonAsync("import os\nn=0\ntry:\n while n<2000:\n  if os.fork()==0:\n   import time; time.sleep(60); os._exit(0)\n  n+=1\nexcept OSError: print(n<600)\nos.system('true')\nos.kill(-1,9)")).Stdout.ShouldBe("True\n");
        (await sandbox.PythonAsync("import ctypes; c=ctypes.CDLL(None,use_errno=True); print(c.unshare(0x10000000), ctypes.get_errno())")).Stdout.ShouldBe("-1 1\n");
        using (var file = await sandbox.SendAsync(HttpMethod.Post, "/files?path=f", new StringContent("x")))
        {
            file.StatusCode.ShouldBe(HttpStatusCode.OK);
        }

        (await sandbox.RunAsync("cat f; echo y > /dev/stdout")).Stdout.ShouldBe("xy\n");
        (await sandbox.KillAsync()).ShouldBe(HttpStatusCode.NoContent);
        Traces.Processes(State).Where(p => !p.Contains(Assembly, StringComparison.Ordinal)).ShouldBeEmpty();
        await client.CreateAsync();
        host.StandardInput.Close();
        await host.WaitForExitAsync();
        host.ExitCode.ShouldBe(0);
        Directory.EnumerateFileSystemEntries(State).ShouldBeEmpty();
    }

    private static string Assembly => typeof(HostProcessTests).Assembly.Location;

    /// <summary>Makes the directory and the program accessible to user 12345, and says how to become that user.</summary>
    private string[] Rootless()
    {
        using var chown = Process.Start("/bin/chown", ["12345:12345", _directory]);
        chown.WaitForExit();
        return ["/usr/bin/setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups", "--inh-caps=-all", "/usr/bin/env", "HOME=" + _directory, "DOTNET_CLI_HOME=" + _directory];
    }

    private async Task<Process> StartAsync(string[] prefix, (string Name, string Value)? variable = null, string accepted = "")
    {
        var process = Spawn(prefix, State, Socket, accepted, variable);
        if (await process.StandardOutput.ReadLineAsync() != "ready")
        {
            throw new InvalidOperationException("the host did not start: " + await process.StandardError.ReadToEndAsync());
        }

        _ = process.StandardError.ReadToEndAsync();
        return process;
    }

    private static Process Spawn(string[] prefix, string state, string socket, string accepted = "", (string Name, string Value)? variable = null)
    {
        string[] command = [.. prefix, Environment.ProcessPath!, Assembly, "host", state, socket, accepted];
        var start = new ProcessStartInfo(command[0], command[1..])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        if (variable is (var name, var value))
        {
            start.Environment[name] = value;
        }

        return Process.Start(start)!;
    }

    private static async Task GoneAsync(Func<IEnumerable<string>> look)
    {
        var clock = Stopwatch.StartNew();
        while (look().ToList() is { Count: > 0 } left)
        {
            clock.Elapsed.ShouldBeLessThan(TimeSpan.FromSeconds(20), string.Join('\n', left));
            await Task.Yield();
        }
    }
}
