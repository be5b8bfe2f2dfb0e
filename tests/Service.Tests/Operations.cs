using System.Text.Json.Nodes;
using InterpreterKernel.Sandbox;

namespace InterpreterKernel.Service.Tests;

/// <summary>The table of operations of tests/Sdk/agreement.mjs, done with our own client: the same rows, under the same names.</summary>
internal sealed class Operations(SandboxConnection connection)
{
    private const string Unknown = "inonesuch0000000000000";
    private static readonly byte[] s_bytes = [.. Enumerable.Range(0, 70_000).Select(i => (byte)((i * 31) & 255))];

    public JsonObject Results { get; } = [];

    public async Task RunAsync()
    {
        var options = new SandboxOptions
        {
            Metadata = new Dictionary<string, string> { ["table"] = "agreement ä&=" },
            EnvVars = new Dictionary<string, string> { ["FROM"] = "create" },
            Timeout = TimeSpan.FromSeconds(120),
            Template = "base",
        };
        await using var sandbox = await Sandbox.Sandbox.CreateAsync(options, connection);
        await RunCommandsAsync(sandbox.Commands);
        await RunFilesAsync(sandbox, sandbox.Files);
        await RunLifecycleAsync(sandbox);
    }

    private async Task RunCommandsAsync(Commands commands)
    {
        async Task<JsonNode?> Ran(string cmd, CommandOptions? o = null) => Text(await commands.RunAsync(cmd, o));
        await RowAsync("run", () => Ran("echo out; echo err >&2"));
        await RowAsync("run exit 7", () => Failed(commands.RunAsync("echo out; echo err >&2; exit 7")));
        await RowAsync("run killed", () => Failed(commands.RunAsync("kill -9 $$")));
        await RowAsync("run not found", () => Failed(commands.RunAsync("nonesuch 2>/dev/null")));
        await RowAsync("run envs", () => Ran("echo $FROM $CALL", new CommandOptions { Envs = new Dictionary<string, string> { ["CALL"] = "zwölf" } }));
        await RowAsync("run cwd", () => Ran("pwd", new CommandOptions { Cwd = "/tmp" }));
        await RowAsync("run cwd missing", () => Ran("pwd", new CommandOptions { Cwd = "/nonesuch" }));
        await RowAsync("run timeout", () => Ran("sleep 30", new CommandOptions { Timeout = TimeSpan.FromMilliseconds(500) }));
        await RowAsync("run characters", () => Ran("printf '\\303'; sleep 0.05; printf '\\244'"));
        await RowAsync("run long", async () => (await commands.RunAsync("seq 100000")).Stdout.Length);
        await RowAsync("run in home", () => Ran("pwd; whoami"));

        var background = await commands.StartAsync("cat", new CommandOptions { Stdin = true });
        await using var ownership = background;
        await RowAsync("background", () => Is(background.Pid > 0));
        await RowAsync("list", async () => (await commands.ListAsync()).Count(p => p.Pid == background.Pid));
        await RowAsync("input", async () =>
        {
            await background.SendInputAsync("zwölf\n"u8.ToArray());
            await background.CloseStdinAsync();
            return await TextAsync(background);
        });
        await RowAsync("kill command", async () =>
        {
            await using var command = await commands.StartAsync("sleep 60");
            return new JsonArray(await command.KillAsync(), await commands.KillAsync(command.Pid + 10_000));
        });
        await RowAsync("connect unknown", async () => await TextAsync(await commands.ConnectAsync(999_999)));
        await RowAsync("connect", async () =>
        {
            await using var command = await commands.StartAsync("sleep 0.3; echo later");
            await using var second = await commands.ConnectAsync(command.Pid);
            return await TextAsync(second);
        });
    }

    private async Task RunFilesAsync(Sandbox.Sandbox sandbox, Files files)
    {
        await RowAsync("write", () => None(files.WriteTextAsync("text.txt", "zwölf\n")));
        await RowAsync("read", async () => await files.ReadTextAsync("text.txt"));
        await RowAsync("write bytes", () => None(files.WriteAsync("/tmp/deep/er/bytes", s_bytes)));
        await RowAsync("read bytes", async () => Sum(await files.ReadAsync("/tmp/deep/er/bytes")));
        await RowAsync("write empty", () => None(files.WriteTextAsync("empty", "")));
        await RowAsync("read empty", async () => await files.ReadTextAsync("empty"));
        await RowAsync("write many", () => None(files.WriteAllAsync(
            [new("/tmp/many/a", "A"u8.ToArray()), new("/tmp/many/b c", "B"u8.ToArray())])));
        await RowAsync("read many", async () => new JsonArray(await files.ReadTextAsync("/tmp/many/a"), await files.ReadTextAsync("/tmp/many/b c")));
        await RowAsync("read missing", async () => await files.ReadTextAsync("nonesuch"));
        await RowAsync("read directory", async () => await files.ReadTextAsync("/tmp"));
        await RowAsync("write over directory", () => None(files.WriteTextAsync("/tmp", "x")));
        await RowAsync("write where not allowed", () => None(files.WriteTextAsync("/usr/x", "x")));
        await RowAsync("exists", async () => new JsonArray(await files.ExistsAsync("text.txt"), await files.ExistsAsync("nonesuch"), await files.ExistsAsync("/tmp")));
        await RowAsync("info file", async () => Entry(await files.GetInfoAsync("text.txt")));
        await RowAsync("info directory", async () => Entry(await files.GetInfoAsync("/tmp/many")));
        await RowAsync("info missing", async () => Entry(await files.GetInfoAsync("nonesuch")));
        await RowAsync("info link", async () =>
        {
            await sandbox.Commands.RunAsync("ln -s /tmp/many/a link; ln -s nowhere broken");
            return new JsonArray(Entry(await files.GetInfoAsync("link")), Entry(await files.GetInfoAsync("broken")));
        });
        await RowAsync("list directory", async () => new JsonArray([.. (await files.ListAsync("/tmp/deep")).Select(Entry)]));
        await RowAsync("list deep", async () => new JsonArray([.. (await files.ListAsync("/tmp/deep", 3)).Select(e => (JsonNode)e.Path)]));
        await RowAsync("list missing", async () => (await files.ListAsync("/tmp/nonesuch")).Count);
        await RowAsync("list file", async () => (await files.ListAsync("text.txt")).Count);
        await RowAsync("make directory", async () => new JsonArray(await files.MakeDirectoryAsync("/tmp/new/er"), await files.MakeDirectoryAsync("/tmp/new/er")));
        await RowAsync("make directory over file", async () => await files.MakeDirectoryAsync("text.txt"));
        await RowAsync("rename", async () => Entry(await files.MoveAsync("text.txt", "/tmp/elsewhere/renamed")));
        await RowAsync("rename missing", async () => Entry(await files.MoveAsync("nonesuch", "x")));
        await RowAsync("remove", async () =>
        {
            await files.RemoveAsync("/tmp/deep");
            return await files.ExistsAsync("/tmp/deep");
        });
        await RowAsync("remove missing", () => None(files.RemoveAsync("/tmp/deep")));
        await RowAsync("watch", () => WatchAsync(files));
        await RowAsync("watch missing", async () =>
        {
            await using var watch = await files.WatchAsync("/tmp/nonesuch");
            return "watching";
        });
        await RowAsync("signed download", async () =>
        {
            await files.WriteTextAsync("/tmp/signed", "by url");
            using var http = new HttpClient();
            return await http.GetStringAsync(files.DownloadUrl("/tmp/signed"));
        });
    }

    private static async Task<JsonNode?> WatchAsync(Files files)
    {
        await using var watch = await files.WatchAsync("/tmp/new", recursive: true);
        await files.MakeDirectoryAsync("/tmp/new/w");
        await files.WriteTextAsync("/tmp/new/er/file", "1");
        await files.RemoveAsync("/tmp/new/er/file");
        using var bound = new CancellationTokenSource(TimeSpan.FromSeconds(10));
        var seen = new HashSet<FileChange>();
        await foreach (var change in watch.ReadAsync(bound.Token))
        {
            seen.Add(change);
            if (change == new FileChange("er/file", FileChangeKind.Remove))
            {
                break;
            }
        }

        return new JsonArray(seen.Contains(new FileChange("w", FileChangeKind.Create)), seen.Contains(new FileChange("er/file", FileChangeKind.Remove)));
    }

    private async Task RunLifecycleAsync(Sandbox.Sandbox sandbox)
    {
        await RowAsync("info", async () =>
        {
            var info = await sandbox.GetInfoAsync();
            return new JsonObject
            {
                ["state"] = State(info),
                ["metadata"] = info.Metadata["table"],
                ["template"] = info.TemplateId,
                ["seconds"] = (int)Math.Round((info.EndAt - info.StartedAt).TotalSeconds),
            };
        });
        await RowAsync("list sandboxes", async () =>
        {
            var query = new SandboxListQuery { Metadata = new Dictionary<string, string> { ["table"] = "agreement ä&=" } };
            return await Sandbox.Sandbox.ListAsync(connection, query).CountAsync(s => s.Id == sandbox.Id);
        });
        await RowAsync("set timeout", async () =>
        {
            await sandbox.SetTimeoutAsync(TimeSpan.FromSeconds(45));
            return ((await sandbox.GetInfoAsync()).EndAt - DateTimeOffset.UtcNow).TotalSeconds is > 40 and < 46;
        });
        await RowAsync("metrics", async () => await sandbox.GetMetricsAsync() is not null);
        await RowAsync("host", () => Task.FromResult<JsonNode?>(sandbox.GetHost(8080).Replace(sandbox.Id, "ID", StringComparison.Ordinal)));
        await RowAsync("is running", async () => await sandbox.IsRunningAsync());
        await RowAsync("pause", async () => new JsonArray(await sandbox.PauseAsync(), await sandbox.PauseAsync()));
        await RowAsync("info paused", async () => State(await sandbox.GetInfoAsync()));
        await RowAsync("resume", async () =>
        {
            (await Sandbox.Sandbox.ConnectAsync(sandbox.Id, connection)).Detach();
            return Text(await sandbox.Commands.RunAsync("cat empty; echo back"));
        });
        await RowAsync("connect to unknown", () => None(Sandbox.Sandbox.ConnectAsync(Unknown, connection)));
        await RowAsync("info of unknown", () => None(Sandbox.Sandbox.GetInfoAsync(Unknown, connection)));
        await RowAsync("wrong key", () => None(Sandbox.Sandbox.CreateAsync(new SandboxOptions(), connection with { ApiKey = "e2b_" + new string('0', 40) })));
        await RowAsync("kill", async () => new JsonArray(await sandbox.KillAsync(), await sandbox.KillAsync()));
        await RowAsync("is running after", async () => await sandbox.IsRunningAsync());
        await RowAsync("run after", async () => Text(await sandbox.Commands.RunAsync("true")));
    }

    /// <summary>One row: what it gives, or what kind of error.</summary>
    private async Task RowAsync(string name, Func<Task<JsonNode?>> operation)
    {
        try
        {
            Results[name] = await operation();
        }
        catch (SandboxException e)
        {
            Results[name] = "error: " + e switch
            {
                CommandExitException exit => Text(exit.Result),
                { Reason: SandboxFault.NotFound or SandboxFault.SandboxLost } => "not found",
                { Reason: SandboxFault.InvalidRequest } => "invalid",
                { Reason: SandboxFault.Authentication } => "authentication",
                { Reason: SandboxFault.ConcurrencyLimit or SandboxFault.RateLimited } => "limit",
                { Reason: SandboxFault.ExecutionTimeout or SandboxFault.RequestTimeout } => "timeout",
                _ => "other",
            };
        }
    }

    private static async Task<JsonNode?> None(Task task)
    {
        await task;
        return null;
    }

    private static Task<JsonNode?> Is(bool value) => Task.FromResult<JsonNode?>(value);

    private static async Task<JsonNode?> Failed(Task<CommandResult> run) => Text((await run).EnsureSuccess());

    private static string Text(CommandResult r) => $"exit {r.ExitCode}: {r.Stdout}|{r.Stderr}";

    private static async Task<JsonNode?> TextAsync(SandboxProcess process)
    {
        var (stdout, stderr) = (new MemoryStream(), new MemoryStream());
        await foreach (var output in process.ReadAsync())
        {
            switch (output)
            {
                case ProcessOutput.Stdout(var data):
                    stdout.Write(data.Span);
                    break;
                case ProcessOutput.Stderr(var data):
                    stderr.Write(data.Span);
                    break;
            }
        }

        string Of(MemoryStream s) => System.Text.Encoding.UTF8.GetString(s.ToArray());
        return $"exit {process.Result!.ExitCode}: {Of(stdout)}|{Of(stderr)}";
    }

    private static JsonNode Entry(FileEntry e) => new JsonObject
    {
        ["name"] = e.Name,
        ["type"] = e.Type switch { FileEntryType.File => "file", FileEntryType.Directory => "dir", _ => "other" },
        ["path"] = e.Path,
        ["size"] = e.Type == FileEntryType.Directory ? 0 : e.Size,
        ["mode"] = e.Mode,
        ["permissions"] = e.Permissions,
        ["owner"] = e.Owner,
        ["group"] = e.Group,
        ["target"] = e.SymlinkTarget,
    };

    private static string State(SandboxInfo info) => info.State == SandboxState.Paused ? "paused" : "running";

    private static int Sum(byte[] data) => (int)data.Aggregate(7L, (total, value) => ((total * 31) + value) % 1_000_003);
}
