using System.Net.Sockets;
using System.Text;
using InterpreterKernel.Sandbox;
using Client = InterpreterKernel.Sandbox.Sandbox;

namespace InterpreterKernel.SandboxHost.Tests;

/// <summary>Our own client against our own host, where E2B's SDK is the other witness (tests/Sdk).</summary>
[Collection(SharedHostCollection.Name)]
public sealed class OwnClientTests(SharedHost shared)
{
    private SandboxConnection Connection => new() { UnixSocket = shared.Host.Options.UnixSocket };

    [Fact]
    public async Task Files_and_directories_are_one_story_with_the_commands()
    {
        await using var sandbox = await Client.CreateAsync(new SandboxOptions(), Connection);

        await sandbox.Files.WriteTextAsync("d/f", "zwölf");
        (await sandbox.Files.MakeDirectoryAsync("d/e")).ShouldBeTrue();
        (await sandbox.Files.MakeDirectoryAsync("d/e")).ShouldBeFalse();
        (await sandbox.Files.ListAsync("d")).Select(e => (e.Name, e.Type)).ShouldBe([("e", FileEntryType.Directory), ("f", FileEntryType.File)]);
        var moved = await sandbox.Files.MoveAsync("d/f", "/tmp/g");
        (moved.Path, moved.Size, moved.Permissions, moved.Owner).ShouldBe(("/tmp/g", 6L, "-rw-r--r--", "user"));
        (await sandbox.Commands.RunAsync("cat /tmp/g")).Stdout.ShouldBe("zwölf");
        await sandbox.Files.RemoveAsync("/tmp/g");
        (await sandbox.Files.ExistsAsync("/tmp/g")).ShouldBeFalse();
        (await Should.ThrowAsync<SandboxException>(() => sandbox.Files.ReadAsync("/tmp/g"))).Reason.ShouldBe(SandboxFault.NotFound);
    }

    [Fact]
    public async Task A_watch_sees_what_the_same_client_writes()
    {
        await using var sandbox = await Client.CreateAsync(new SandboxOptions(), Connection);
        await using var watch = await sandbox.Files.WatchAsync("", recursive: true);

        await sandbox.Files.WriteAsync("d/f", Encoding.UTF8.GetBytes("x"));

        using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        var seen = new List<FileChange>();
        await foreach (var change in watch.ReadAsync(patience.Token))
        {
            seen.Add(change);
            if (change == new FileChange("d/f", FileChangeKind.Write))
            {
                break;
            }
        }

        seen.ShouldContain(new FileChange("d", FileChangeKind.Create));
        seen.ShouldAllBe(change => change.Name == "d" || change.Name == "d/f");
    }

    [Fact]
    public async Task A_process_that_listens_is_talked_to_with_nothing_in_between()
    {
        await using var sandbox = await Client.CreateAsync(new SandboxOptions(), Connection);
        await using var process = await sandbox.Commands.StartAsync(Listening("connection = listener.accept()[0]; connection.send(connection.recv(9).upper())"));

        var path = process.Socket.ShouldNotBeNull();
        await using (var again = await sandbox.Commands.ConnectAsync(process.Pid))
        {
            again.Socket.ShouldBe(path);
        }

        using var connection = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await connection.ConnectAsync(new UnixDomainSocketEndPoint(path));
        await connection.SendAsync("word"u8.ToArray());
        var buffer = new byte[9];
        Encoding.UTF8.GetString(buffer, 0, await connection.ReceiveAsync(buffer)).ShouldBe("WORD");
        (await process.WaitAsync()).ExitCode.ShouldBe(0);
        File.Exists(path).ShouldBeFalse();
        await using (var ended = await sandbox.Commands.ConnectAsync(process.Pid))
        {
            ended.Socket.ShouldBeNull();
        }

        (await Should.ThrowAsync<SandboxException>(() => sandbox.Commands.SendInputAsync(process.Pid, "x"u8.ToArray()))).Message.ShouldContain("stdin");
    }

    [Fact]
    public async Task Who_connects_to_a_process_that_ends_without_accepting_is_turned_away()
    {
        await using var sandbox = await Client.CreateAsync(new SandboxOptions(), Connection);
        await using var process = await sandbox.Commands.StartAsync(Listening("import time; time.sleep(1000)"));
        using var connection = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await connection.ConnectAsync(new UnixDomainSocketEndPoint(process.Socket!));

        await process.KillAsync();

        (await Should.ThrowAsync<SocketException>(async () => await connection.ReceiveAsync(new byte[1])))
            .SocketErrorCode.ShouldBe(SocketError.ConnectionReset);
        File.Exists(process.Socket).ShouldBeFalse();
    }

    [Fact]
    public async Task Over_tcp_nobody_is_given_a_socket()
    {
        await using var host = await TestHost.StartAsync(o => o with { ListenUrl = new Uri("http://127.0.0.1:0"), ApiKey = "key" });
        var address = new Uri(host.App.Address);
        await using var sandbox = await Client.CreateAsync(new SandboxOptions(), new SandboxConnection { ApiKey = "key", ApiUrl = address, SandboxUrl = address });
        await using var process = await sandbox.Commands.StartAsync(new ProcessStart("cat", []) { Listen = true });

        process.Socket.ShouldBeNull();
        using var request = new HttpRequestMessage(HttpMethod.Post, address + "process.Process/Start")
        {
            Content = new ByteArrayContent([0, 0, 0, 0, 7, 10, 5, 10, 3, (byte)'c', (byte)'a', (byte)'t']),
            Headers = { { "E2b-Sandbox-Id", sandbox.Id }, { "E2b-Sandbox-Port", "49983" }, { "X-Access-Token", sandbox.EnvdAccessToken }, { "Interpreter-Kernel-Socket", "listen" } },
        };
        request.Content.Headers.ContentType = new("application/connect+proto");
        using var client = new HttpClient();
        using var answer = await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        answer.IsSuccessStatusCode.ShouldBeTrue();
        answer.Headers.Contains("Interpreter-Kernel-Socket").ShouldBeFalse();
    }

    [Fact]
    public async Task A_signed_address_needs_no_header()
    {
        await using var host = await TestHost.StartAsync(o => o with { ListenUrl = new Uri("http://127.0.0.1:0"), ApiKey = "key" });
        var address = new Uri(host.App.Address);
        await using (var sandbox = await Client.CreateAsync(new SandboxOptions(), new SandboxConnection { ApiKey = "key", ApiUrl = address, SandboxUrl = address }))
        {
            await sandbox.Files.WriteTextAsync("ä b", "signed");
            using var stranger = new HttpClient();

            (await stranger.GetStringAsync(sandbox.Files.DownloadUrl("ä b", lifetime: TimeSpan.FromMinutes(1)))).ShouldBe("signed");
            (await stranger.GetAsync(sandbox.Files.DownloadUrl("ä b", lifetime: TimeSpan.FromMinutes(-1)))).StatusCode.ShouldBe(System.Net.HttpStatusCode.Unauthorized);
        }
    }

    private static ProcessStart Listening(string then) =>
        new("python3", ["-c", "import socket; listener = socket.socket(fileno=0); " + then]) { Listen = true };
}
