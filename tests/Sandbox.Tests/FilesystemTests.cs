using System.Security.Cryptography;
using System.Text;
using InterpreterKernel.Protocol.Connect;
using InterpreterKernel.Sandbox.FileSystem;
using InterpreterKernel.Sandbox.Tests.Support;

namespace InterpreterKernel.Sandbox.Tests;

public sealed class FilesystemTests
{
    private const string Service = "POST /filesystem.Filesystem/";
    private const string Entry = """{"name":"f","type":"FILE_TYPE_FILE","path":"/d/f","size":"5000000000","mode":420,"permissions":"-rw-r--r--","owner":"user","group":"user","modifiedTime":"2026-11-21T10:00:00.5Z","unknown":1}""";

    [Fact]
    public async Task Directories_are_listed_made_moved_and_removed()
    {
        await using var service = await FakeService.StartAsync();
        service.On(Service + "ListDir", 200, $$"""{"entries":[{{Entry}},{"name":"d","type":"FILE_TYPE_DIRECTORY","path":"/d/d"},{"name":"l","path":"/d/l","symlinkTarget":"/nowhere"}]}""")
            .On(Service + "Stat", 200, $$"""{"entry":{{Entry}}}""")
            .On(Service + "MakeDir", 200, "{}")
            .On(Service + "Move", 200, $$"""{"entry":{{Entry}}}""")
            .On(Service + "Remove", 200, "{}");
        var files = service.Attach().Files;

        var entries = await files.ListAsync("/d", depth: 2, user: "user");
        entries.Select(e => e.Type).ShouldBe([FileEntryType.File, FileEntryType.Directory, FileEntryType.Other]);
        entries[0].Size.ShouldBe(5_000_000_000);
        entries[0].Mode.ShouldBe(Convert.ToInt32("644", 8));
        entries[2].SymlinkTarget.ShouldBe("/nowhere");
        (await files.ExistsAsync("/d/f")).ShouldBeTrue();
        (await files.MakeDirectoryAsync("/d")).ShouldBeTrue();
        (await files.MoveAsync("/a", "/d/f")).Path.ShouldBe("/d/f");
        await files.RemoveAsync("/d");

        service.Requests.Select(r => r.Body).ShouldBe(
            ["""{"path":"/d","depth":2}""", """{"path":"/d/f"}""", """{"path":"/d"}""", """{"source":"/a","destination":"/d/f"}""", """{"path":"/d"}"""]);
        service.Requests.First().Headers["Content-Type"].ShouldBe("application/json");
    }

    [Fact]
    public async Task What_is_missing_or_there_already_is_told_by_the_return_value()
    {
        await using var service = await FakeService.StartAsync();
        service.On(Service + "Stat", 404, """{"code":"not_found","message":"no such file"}""")
            .On(Service + "MakeDir", 409, """{"code":"already_exists","message":"there"}""");
        var files = service.Attach().Files;

        (await files.ExistsAsync("/x")).ShouldBeFalse();
        (await files.MakeDirectoryAsync("/x")).ShouldBeFalse();
        (await Should.ThrowAsync<SandboxException>(() => files.GetInfoAsync("/x"))).Reason.ShouldBe(SandboxFault.NotFound);
    }

    [Fact]
    public async Task A_watch_tells_changes_and_its_end()
    {
        var seen = new TaskCompletionSource();
        await using var service = await FakeService.StartAsync();
        service.On("GET /health", 204).On(Service + "WatchDir", async context =>
        {
            context.Response.ContentType = "application/connect+json";
            foreach (var json in new[]
            {
                """{"start":{}}""",
                """{"keepalive":{}}""",
                """{"filesystem":{"name":"a","type":"EVENT_TYPE_CREATE"}}""",
                """{"filesystem":{"name":"a","type":"EVENT_TYPE_OF_TOMORROW"}}""",
            })
            {
                await context.StreamAsync(Wire.Enveloped(Encoding.UTF8.GetBytes(json)));
            }

            await seen.Task; // then the answer breaks off
        });
        await using var watch = await service.Attach().Files.WatchAsync("/d", recursive: true);

        var changes = new List<FileChange>();
        var fault = await Should.ThrowAsync<SandboxException>(async () =>
        {
            await foreach (var change in watch.ReadAsync())
            {
                changes.Add(change);
                if (changes.Count == 2)
                {
                    seen.SetResult();
                }
            }
        });

        changes.ShouldBe([new FileChange("a", FileChangeKind.Create), new FileChange("a", FileChangeKind.Other)]);
        fault.Reason.ShouldBe(SandboxFault.Unreachable);
        service.Requests.First().Body[5..].ShouldBe("""{"path":"/d","recursive":true}""");
        service.Requests.First().Headers["Keepalive-Ping-Interval"].ShouldBe("20");
    }

    [Fact]
    public async Task A_directory_that_is_not_there_can_not_be_watched()
    {
        await using var service = await FakeService.StartAsync();
        service.On(Service + "WatchDir", async context =>
        {
            context.Response.ContentType = "application/connect+json";
            await context.StreamAsync(Wire.Closing(new ConnectError(ConnectCode.NotFound, "no")));
        });

        (await Should.ThrowAsync<SandboxException>(() => service.Attach().Files.WatchAsync("/x"))).Reason.ShouldBe(SandboxFault.NotFound);
    }

    [Fact]
    public void Signed_addresses_follow_the_rule_of_the_daemon()
    {
        var time = new ManualTime(); // stands at the second day of 1970
        var connection = new SandboxConnection { ApiKey = "k", Domain = "own.example", TimeProvider = time };
        var files = Sandbox.Attach("iabc", "geheim", connection).Files;

        var expected = "v1_" + Convert.ToBase64String(SHA256.HashData("/a b:read:root:geheim:86460"u8)).TrimEnd('=');
        files.DownloadUrl("/a b", "root", TimeSpan.FromMinutes(1)).AbsoluteUri.ShouldBe(
            $"https://49983-iabc.own.example/files?path=%2Fa%20b&username=root&signature={Uri.EscapeDataString(expected)}&signature_expiration=86460");
        SignedUrl.Sign("/a", "write", null, "t", null).ShouldBe("v1_" + Convert.ToBase64String(SHA256.HashData("/a:write::t"u8)).TrimEnd('='));
        files.UploadUrl("/a").Query.ShouldNotContain("geheim");
        files.UploadUrl("/a").Query.ShouldNotContain("expiration");
        Sandbox.Attach("iabc", null, connection).Files.UploadUrl("/a").Query.ShouldBe("?path=%2Fa");
    }
}
