using System.Net;
using System.Text;
using InterpreterKernel.Protocol.Envd;

namespace InterpreterKernel.SandboxHost.Tests;

/// <summary>The filesystem service with the binary codec. (E2B's SDK tests it with JSON: tests/Sdk/directories.test.mjs, watch.test.mjs.)</summary>
[Collection(SharedHostCollection.Name)]
public sealed class FilesystemTests(SharedHost shared) : IAsyncLifetime
{
    private TestSandbox _sandbox = null!;

    public async Task InitializeAsync() => _sandbox = await shared.Client.CreateAsync();

    public async Task DisposeAsync() => await _sandbox.KillAsync();

    [Fact]
    public async Task An_entry_says_all_about_a_file()
    {
        await _sandbox.RunAsync("printf 12345 > f; chmod 4750 f; touch -d 1969-12-31T23:59:58.25Z f; ln -s f l; ln -s none broken");

        var file = (await StatAsync("f")).Answer!.Entry;
        var link = (await StatAsync("~/l")).Answer!.Entry;
        var broken = (await StatAsync("/home/user/./x/../broken")).Answer!.Entry;

        (file.Name, file.Path, file.Type, file.Size, file.Mode, file.Permissions, file.Owner, file.Group).ShouldBe(
            ("f", "/home/user/f", FileType.File, 5L, 0b111_101_000u, "urwxr-x---", "user", "user"));
        (file.ModifiedTime.Seconds, file.ModifiedTime.Nanos, file.HasSymlinkTarget).ShouldBe((-2L, 250_000_000, false));
        (link.Type, link.Mode, link.Permissions, link.SymlinkTarget).ShouldBe((FileType.File, 0b111_101_000u, "Lrwxrwxrwx", "/home/user/f"));
        (broken.Type, broken.Mode, broken.SymlinkTarget, broken.Path).ShouldBe((FileType.Unspecified, 0u, "/home/user/broken", "/home/user/broken"));
    }

    [Theory]
    [InlineData("/dev/null", FileType.Unspecified, "Dcrw-rw-rw-")]
    [InlineData("fifo", FileType.Unspecified, "prw-r--r--")]
    [InlineData("socket", FileType.Unspecified, "Srwxr-xr-x")]
    [InlineData("/", FileType.Directory, "drwxr-xr-x")]
    public async Task What_is_no_file_has_its_letters(string path, FileType type, string permissions)
    {
        await _sandbox.PythonAsync("import os,socket; os.mkfifo('fifo'); s=socket.socket(socket.AF_UNIX); s.bind('socket')");

        var entry = (await StatAsync(path)).Answer!.Entry;

        (entry.Type, entry.Permissions).ShouldBe((type, permissions));
    }

    [Theory]
    [InlineData("Stat", "none", "not_found")]
    [InlineData("Stat", "f/below", "invalid_argument")]
    [InlineData("Stat", "loop/x", "failed_precondition")]
    [InlineData("ListDir", "none", "not_found")]
    [InlineData("ListDir", "f", "invalid_argument")]
    [InlineData("ListDir", "shut", "permission_denied")]
    [InlineData("MakeDir", "d", "already_exists")]
    [InlineData("MakeDir", "f", "invalid_argument")]
    [InlineData("MakeDir", "/usr/x", "permission_denied")]
    [InlineData("Remove", "/usr/bin/env", "permission_denied")]
    [InlineData("Remove", "none", null)]
    [InlineData("CreateWatcher", "none", "not_found")]
    [InlineData("CreateWatcher", "f", "invalid_argument")]
    [InlineData("GetWatcherEvents", "none", "not_found")]
    [InlineData("RemoveWatcher", "none", "not_found")]
    public async Task What_fails_has_envds_code(string method, string path, string? code)
    {
        await _sandbox.RunAsync("touch f; mkdir d; mkdir -m 0 shut; ln -s loop loop");

        // In each of these messages the text is field 1.
        var (_, error) = await _sandbox.FilesAsync(method, new StatRequest { Path = path }, RemoveResponse.Parser);

        error.ShouldBe(code);
    }

    [Fact]
    public async Task A_move_makes_directories_and_goes_over_file_systems()
    {
        await _sandbox.RunAsync("mkdir -p a/b; echo x > a/b/f; chmod 600 a/b/f; mkfifo a/fifo; ln -s /etc/passwd a/l");

        var (moved, _) = await MoveAsync("a", "/tmp/new/a");
        moved!.Entry.Path.ShouldBe("/tmp/new/a");
        (await _sandbox.RunAsync("ls a; cd /tmp/new/a; cat b/f; stat -c '%a %F' b/f fifo; readlink l")).Stdout.ShouldBe("x\n600 regular file\n644 fifo\n/etc/passwd\n");

        (await MoveAsync("none", "x")).Error.ShouldBe("not_found");
        (await MoveAsync("/usr/bin/env", "x")).Error.ShouldBe("permission_denied");
        (await MoveAsync("/tmp/new", "/tmp/new/a/deeper")).Error.ShouldBe("invalid_argument");
        (await _sandbox.RunAsync("ls -A; ls -A /tmp/new")).Stdout.ShouldBe("a\n");
    }

    [Fact]
    public async Task A_failed_move_over_file_systems_leaves_everything_as_it_was()
    {
        await _sandbox.RunAsync("mkdir d; head -c 12M /dev/zero > d/big; echo x > d/f");

        (await MoveAsync("d", "/tmp/d")).Error.ShouldBe("internal");

        (await _sandbox.RunAsync("ls -A /tmp; stat -c %s d/big; cat d/f")).Stdout.ShouldBe("12582912\nx\n");
    }

    [Fact]
    public async Task Names_that_are_no_text_are_shown_as_well_as_can_be()
    {
        await _sandbox.PythonAsync("open(b'a\\xff\\nb','w').close(); open('ä','w').close()");

        var (list, _) = await ListAsync(".");

        list!.Entries.Select(e => e.Name).ShouldBe(["a\ufffd\nb", "ä"]);
    }

    [Fact]
    public async Task A_watcher_gathers_changes_until_it_is_removed()
    {
        var (made, _) = await _sandbox.FilesAsync("CreateWatcher", new WatchDirRequest { Path = "", Recursive = true, IncludeEntry = true }, CreateWatcherResponse.Parser);
        var id = made!.WatcherId;
        var events = new List<FilesystemEvent>();

        // Of a file that is gone before its new directory is watched, no watcher can know: each step waits for the one before.
        await _sandbox.RunAsync("mkdir d");
        await GatherUntilAsync("d", EventType.Create);
        await _sandbox.RunAsync("echo 1 > d/f");
        await GatherUntilAsync("d/f", EventType.Create);
        await _sandbox.RunAsync("rm d/f");
        await GatherUntilAsync("d/f", EventType.Remove);

        events.Last().ShouldSatisfyAllConditions(e => e.Name.ShouldBe("d/f"), e => e.Type.ShouldBe(EventType.Remove), e => e.Entry.ShouldBeNull());
        events.First().Entry.Type.ShouldBe(FileType.Directory);
        (await _sandbox.FilesAsync("RemoveWatcher", new RemoveWatcherRequest { WatcherId = id }, RemoveWatcherResponse.Parser)).Error.ShouldBeNull();
        (await _sandbox.FilesAsync("GetWatcherEvents", new GetWatcherEventsRequest { WatcherId = id }, GetWatcherEventsResponse.Parser)).Error.ShouldBe("not_found");

        async Task GatherUntilAsync(string name, EventType type)
        {
            // This call answers at once with what there is: who uses it has to ask again. Five seconds are the bound.
            for (var i = 0; i < 500 && !events.Any(e => e.Name == name && e.Type == type); i++)
            {
                var (more, error) = await _sandbox.FilesAsync("GetWatcherEvents", new GetWatcherEventsRequest { WatcherId = id }, GetWatcherEventsResponse.Parser);
                error.ShouldBeNull();
                events.AddRange(more!.Events);
                await Task.Delay(10);
            }

            events.Select(e => (e.Name, e.Type)).ShouldContain((name, type));
        }
    }

    [Fact]
    public async Task Watchers_are_as_many_as_a_sandbox_can_bear()
    {
        // Each has a process, of which this sandbox may have 64; there are 64 watchers at most in any.
        string? refusal = null;
        for (var i = 0; i < 70 && refusal is null; i++)
        {
            refusal = (await _sandbox.FilesAsync("CreateWatcher", new WatchDirRequest { Path = "/tmp" }, CreateWatcherResponse.Parser)).Error;
        }

        (refusal is "resource_exhausted" or "out_of_range").ShouldBeTrue(refusal);
        (await _sandbox.KillAsync()).ShouldBe(HttpStatusCode.NoContent);
    }

    [Fact]
    public async Task A_listing_that_would_be_too_long_is_refused()
    {
        await using var host = await TestHost.StartAsync(o => o with
        {
            Resources = new SandboxResources { MemoryBytes = 1L << 30, Pids = 64, DiskBytes = 512 << 20, TmpBytes = 8 << 20, SharedMemoryBytes = 4 << 20, Cpus = 2 },
        });
        var sandbox = await host.Client.CreateAsync();
        (await sandbox.PythonAsync("import os\nos.mkdir('many')\nos.chdir('many')\nfor i in range(60000): os.close(os.open(str(i), os.O_CREAT))")).Stderr.ShouldBe("");

        foreach (var (path, depth) in (IEnumerable<(string, uint)>)[("many", 1u), (".", 2u), ("/home", 9u)])
        {
            (await sandbox.FilesAsync("ListDir", new ListDirRequest { Path = path, Depth = depth }, ListDirResponse.Parser)).Error.ShouldBe("out_of_range");
        }

        var (shallow, _) = await sandbox.FilesAsync("ListDir", new ListDirRequest { Path = "." }, ListDirResponse.Parser);
        shallow!.Entries.Count.ShouldBe(1);
        (await sandbox.FilesAsync("Remove", new RemoveRequest { Path = "many" }, RemoveResponse.Parser)).Error.ShouldBeNull();
        (await sandbox.RunAsync("ls -A")).Stdout.ShouldBe("");
    }

    [Theory]
    [InlineData("Stat")]
    [InlineData("MakeDir")]
    [InlineData("Move")]
    [InlineData("ListDir")]
    [InlineData("Remove")]
    [InlineData("CreateWatcher")]
    public async Task Paths_that_no_file_can_have_are_refused(string method)
    {
        foreach (var path in (string[])["a\0b", new string('a', 1 << 20), string.Concat(Enumerable.Repeat("ä/", 3000)), new string('b', 300)])
        {
            var (_, error) = await _sandbox.FilesAsync(method, new MoveRequest { Source = path }, RemoveResponse.Parser);

            error.ShouldBe("invalid_argument", $"{method} {path.Length}");
        }

        (await _sandbox.RunAsync("ls -A")).Stdout.ShouldBe("");
    }

    [Fact]
    public async Task Another_user_is_refused()
    {
        var content = new ByteArrayContent(Encoding.UTF8.GetBytes("""{"path":"/"}"""));
        content.Headers.ContentType = new("application/json");
        var request = _sandbox.Request(HttpMethod.Post, "/filesystem.Filesystem/Stat", content);
        request.Headers.Authorization = new("Basic", Convert.ToBase64String("root:"u8));

        using var response = await shared.Client.Http.SendAsync(request);

        response.StatusCode.ShouldBe(HttpStatusCode.Unauthorized);
        (await HostClient.JsonAsync(response)).GetProperty("message").GetString().ShouldStartWith("invalid username: 'root'");
    }

    private Task<(StatResponse? Answer, string? Error)> StatAsync(string path) => _sandbox.FilesAsync("Stat", new StatRequest { Path = path }, StatResponse.Parser);

    private Task<(ListDirResponse? Answer, string? Error)> ListAsync(string path) => _sandbox.FilesAsync("ListDir", new ListDirRequest { Path = path }, ListDirResponse.Parser);

    private Task<(MoveResponse? Answer, string? Error)> MoveAsync(string source, string destination) =>
        _sandbox.FilesAsync("Move", new MoveRequest { Source = source, Destination = destination }, MoveResponse.Parser);
}
