using System.Diagnostics;
using InterpreterKernel.Protocol.Envd;

namespace InterpreterKernel.SandboxHost.Tests;

/// <summary>
/// What runs in a sandbox can't make the file service touch anything outside, nor hold it up. (Reading and writing by such
/// paths is in <see cref="FileTests"/>.)
/// </summary>
[Collection(SharedHostCollection.Name)]
public sealed class HostileFilesTests(SharedHost shared) : IAsyncLifetime
{
    private readonly DirectoryInfo _outside = Directory.CreateTempSubdirectory("ik-out-");
    private TestSandbox _sandbox = null!;

    private string Secret => Path.Combine(_outside.FullName, "secret");

    public async Task InitializeAsync()
    {
        await File.WriteAllTextAsync(Secret, "hush");
        _sandbox = await shared.Client.CreateAsync();
    }

    public async Task DisposeAsync()
    {
        await _sandbox.KillAsync();
        _outside.Delete(recursive: true);
    }

    [Theory]
    [InlineData("link")]
    [InlineData("root")]
    [InlineData("up")]
    [InlineData("proc1")]
    [InlineData("self")]
    [InlineData("/proc/1/cwd")]
    [InlineData("../../../..")]
    [InlineData("")]
    public async Task No_path_leads_the_service_out(string way)
    {
        await _sandbox.RunAsync($"ln -s {_outside.FullName} link; ln -s / root; ln -s ../../../../.. up; ln -s /proc/1/root proc1; ln -s /proc/self/root self; echo mine > mine");
        var directory = way == "link" ? way : way + _outside.FullName;

        (await StatAsync(directory + "/secret")).ShouldNotBeNull();
        (await ListAsync(directory)).ShouldNotBeNull();
        (await WatchAsync(directory)).ShouldNotBeNull();
        (await MoveAsync(directory + "/secret", "/home/user/stolen")).ShouldNotBeNull();
        await MoveAsync("/home/user/mine", directory + "/mine");
        await MakeAsync(directory + "/made");
        await RemoveAsync(directory + "/secret");
        await RemoveAsync(directory);

        Untouched();

        // The same calls do their work on what is inside.
        (await _sandbox.RunAsync($"mkdir -p /tmp/in && echo mine > /tmp/in/secret && ln -sfn /tmp/in way")).ExitCode.ShouldBe(0);
        (await StatAsync("way/secret")).ShouldBeNull();
        (await ListAsync("way")).ShouldBeNull();
        (await WatchAsync("way")).ShouldBeNull();
        (await MoveAsync("way/secret", "/home/user/moved")).ShouldBeNull();
        (await RemoveAsync("/home/user/moved")).ShouldBeNull();
    }

    [Fact]
    public async Task Etc_passwd_is_the_sandboxs_own()
    {
        await _sandbox.RunAsync("ln -s /etc/passwd p");

        using var read = await _sandbox.SendAsync(HttpMethod.Get, "/files?path=p");
        (await read.Content.ReadAsStringAsync()).ShouldStartWith("user:x:");
        using var write = await _sandbox.SendAsync(HttpMethod.Post, "/files?path=p", Body("x"));
        ((int)write.StatusCode).ShouldBe(403);
        (await RemoveAsync("p")).ShouldBeNull();
        (await RemoveAsync("/etc/passwd")).ShouldBe("permission_denied");
        (await MoveAsync("/etc/passwd", "/tmp/p")).ShouldBe("permission_denied");
        File.ReadAllText("/etc/passwd").ShouldStartWith("root:");
    }

    /// <summary>A process swaps a directory and a link to a place outside under the service, as fast as it can.</summary>
    [Fact]
    public async Task No_race_leads_the_service_out()
    {
        await _sandbox.RunAsync($"mkdir a; echo fine > a/secret; ln -s {_outside.FullName} b; cp -a a spare");
        const string swap = "import ctypes\nc=ctypes.CDLL(None)\nprint('go',flush=True)\nwhile True: c.renameat2(-100,b'a',-100,b'b',2)";
        await using var racer = await _sandbox.StreamAsync("Start", new StartRequest { Process = new ProcessConfig { Cmd = "python3", Args = { "-c", swap } }, Stdin = false });
        await racer.ReadUntilAsync("go");
        var (inside, outside) = (0, 0);
        var clock = Stopwatch.StartNew();
        for (var i = 0; clock.Elapsed < TimeSpan.FromSeconds(3) || (Math.Min(inside, outside) == 0 && clock.Elapsed < TimeSpan.FromSeconds(20)); i++)
        {
            var error = (i % 6) switch
            {
                0 => await StatAsync("a/secret"),
                1 => await ListAsync("a"),
                2 => await MakeAsync($"a/made{i}"),
                3 => await MoveAsync("a/secret", "a/secret2") ?? await MoveAsync("a/secret2", "a/secret"),
                4 => await RemoveAsync($"a/made{i - 2}/"),
                _ => await WriteAsync("a/secret", "fine"),
            };
            _ = error is null ? inside++ : outside++;
            using var read = await _sandbox.SendAsync(HttpMethod.Get, "/files?path=a/secret");
            (await read.Content.ReadAsStringAsync()).ShouldNotContain("hush");
        }

        // Both were met, else this has shown nothing.
        inside.ShouldBeGreaterThan(0);
        outside.ShouldBeGreaterThan(0);
        Untouched();
    }

    [Fact]
    public async Task Devices_can_not_be_made_and_fifos_hold_nothing_up()
    {
        (await _sandbox.PythonAsync("import os\nfor kind in (0o60600, 0o20600):\n try: os.mknod('/tmp/dev', kind, os.makedev(1, 1)); print('made')\n except OSError as e: print(e.errno)")).Stdout.ShouldBe("1\n1\n");
        await _sandbox.RunAsync("mkfifo f; mkdir d; mkfifo d/f; ln -s ../f d/l");
        var clock = Stopwatch.StartNew();

        (await StatAsync("f")).ShouldBeNull();
        (await ListAsync("d")).ShouldBeNull();
        (await WatchAsync("d")).ShouldBeNull();
        (await WatchAsync("f")).ShouldBe("invalid_argument");
        (await WriteAsync("f", "x")).ShouldBe("400");
        (await WriteAsync("d/l", "x")).ShouldBe("400");
        using (var read = await _sandbox.SendAsync(HttpMethod.Get, "/files?path=d/l"))
        {
            ((int)read.StatusCode).ShouldBe(400);
        }

        (await MoveAsync("d", "/tmp/d")).ShouldBeNull();
        (await RemoveAsync("/tmp/d")).ShouldBeNull();
        clock.Elapsed.ShouldBeLessThan(TimeSpan.FromSeconds(10));
    }

    [Fact]
    public async Task A_removal_that_is_never_done_ends_with_the_time_of_its_call()
    {
        const string refill = "import os\nprint('go',flush=True)\nwhile True:\n try:\n  os.makedirs('/tmp/d/e/f',exist_ok=True)\n  open('/tmp/d/e/x','w').close()\n except OSError: pass";
        await using (var racer = await _sandbox.StreamAsync("Start", new StartRequest { Process = new ProcessConfig { Cmd = "python3", Args = { "-c", refill } }, Stdin = false }))
        {
            await racer.ReadUntilAsync("go");
            for (var i = 0; i < 5; i++)
            {
                var clock = Stopwatch.StartNew();
                var (_, error) = await _sandbox.FilesAsync("Remove", new RemoveRequest { Path = "/tmp/d" }, RemoveResponse.Parser, timeoutMs: 500);

                (error is null or "deadline_exceeded").ShouldBeTrue(error);
                clock.Elapsed.ShouldBeLessThan(TimeSpan.FromSeconds(10));
            }

            using var kill = await _sandbox.CallAsync("SendSignal", new SendSignalRequest { Process = new ProcessSelector { Pid = racer.Pid }, Signal = Signal.Sigkill });
        }

        (await RemoveAsync("/tmp/d")).ShouldBeNull();
        (await StatAsync("/tmp/d")).ShouldBe("not_found");
    }

    [Fact]
    public async Task A_stopped_task_is_given_up_and_leaves_nothing_in_the_host()
    {
        // A watch lives long enough to be stopped; what it is then asked for is its end.
        await _sandbox.RunAsync("head -c 8M /dev/zero > big");
        var before = Descriptors();
        using (var cancel = new CancellationTokenSource())
        {
            var response = await shared.Client.Http.SendAsync(_sandbox.Request(HttpMethod.Get, "/files?path=big"), HttpCompletionOption.ResponseHeadersRead, cancel.Token);
            var stopped = await _sandbox.RunAsync("for p in $(pgrep -P 1); do [ $p = $$ ] || kill -STOP $p; done; "
                + "for i in $(seq 200); do [ $(pgrep -c -r T .) = 1 ] && break; sleep 0.02; done; pgrep -c -r T . ");
            stopped.Stdout.ShouldBe("1\n");
            (await StatAsync("big")).ShouldBeNull();
            await cancel.CancelAsync();
            response.Dispose();
        }

        // Other tests do not run meanwhile: the collection is one, and runs when all others have ended. Nothing tells when the last
        // descriptor is closed, so it is looked for, during ten seconds at most.
        for (var i = 0; i < 500 && Descriptors() > before; i++)
        {
            await Task.Delay(20);
        }

        Descriptors().ShouldBeLessThanOrEqualTo(before);
    }

    private static int Descriptors() => Directory.EnumerateFileSystemEntries("/proc/self/fd").Count();

    private static ByteArrayContent Body(string text)
    {
        var content = new ByteArrayContent(System.Text.Encoding.UTF8.GetBytes(text));
        content.Headers.ContentType = new("application/octet-stream");
        return content;
    }

    private void Untouched()
    {
        _outside.GetFileSystemInfos().Select(f => f.Name).ShouldBe(["secret"]);
        File.ReadAllText(Secret).ShouldBe("hush");
    }

    private async Task<string?> WriteAsync(string path, string text)
    {
        using var response = await _sandbox.SendAsync(HttpMethod.Post, "/files?path=" + path, Body(text));
        return response.IsSuccessStatusCode ? null : ((int)response.StatusCode).ToString(System.Globalization.CultureInfo.InvariantCulture);
    }

    private async Task<string?> StatAsync(string path) => (await _sandbox.FilesAsync("Stat", new StatRequest { Path = path }, StatResponse.Parser)).Error;

    private async Task<string?> ListAsync(string path) => (await _sandbox.FilesAsync("ListDir", new ListDirRequest { Path = path, Depth = 5 }, ListDirResponse.Parser)).Error;

    private async Task<string?> MakeAsync(string path) => (await _sandbox.FilesAsync("MakeDir", new MakeDirRequest { Path = path }, MakeDirResponse.Parser)).Error;

    private async Task<string?> RemoveAsync(string path) => (await _sandbox.FilesAsync("Remove", new RemoveRequest { Path = path }, RemoveResponse.Parser)).Error;

    private async Task<string?> MoveAsync(string source, string destination) =>
        (await _sandbox.FilesAsync("Move", new MoveRequest { Source = source, Destination = destination }, MoveResponse.Parser)).Error;

    /// <summary>Starts a watch and ends it.</summary>
    private async Task<string?> WatchAsync(string path)
    {
        var (watcher, error) = await _sandbox.FilesAsync("CreateWatcher", new WatchDirRequest { Path = path, Recursive = true }, CreateWatcherResponse.Parser);
        if (watcher is not null)
        {
            await _sandbox.FilesAsync("RemoveWatcher", new RemoveWatcherRequest { WatcherId = watcher.WatcherId }, RemoveWatcherResponse.Parser);
        }

        return error;
    }
}
