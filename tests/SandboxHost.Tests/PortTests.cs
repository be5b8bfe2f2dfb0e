using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;

namespace InterpreterKernel.SandboxHost.Tests;

[Collection(SharedHostCollection.Name)]
public sealed class PortTests(SharedHost shared)
{
    /// <summary>A server that answers one connection after the other with what it was sent, in the sandbox's own Python.</summary>
    private const string Echo =
        """
        import sys
        from http.server import BaseHTTPRequestHandler, HTTPServer
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            def do_GET(self):
                if self.path == "/endless":
                    self.send_response(200); self.send_header("Transfer-Encoding", "chunked"); self.end_headers()
                    for i in range(1000000):
                        self.wfile.write(b"5\r\ntick\n\r\n"); self.wfile.flush(); sys.stdin.readline()
                    return
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length) if length else b""
                if self.headers.get("Transfer-Encoding") == "chunked":
                    while size := int(self.rfile.readline(), 16):
                        body += self.rfile.read(size); self.rfile.readline()
                answer = ("%s %s\n%s\n" % (self.command, self.path, "\n".join(sorted("%s: %s" % h for h in self.headers.items())))).encode() + body
                self.send_response_only(207, "Just Fine"); self.send_header("Content-Length", str(len(answer)))
                self.send_header("X-Latin", "caf\xe9"); self.send_header("Set-Cookie", "a=1"); self.send_header("Set-Cookie", "b=2")
                self.send_header("Connection", "X-Secret"); self.send_header("X-Secret", "1"); self.end_headers()
                self.wfile.write(answer)
            do_POST = do_PUT = do_DELETE = do_PATCH = do_GET
            def log_message(self, *args): pass
        server = HTTPServer((sys.argv[1], 8000), Handler) if ":" not in sys.argv[1] else None
        if server is None:
            import socket
            class V6(HTTPServer): address_family = socket.AF_INET6
            server = V6((sys.argv[1], 8000), Handler)
        print("ready", flush=True)
        server.serve_forever()
        """;

    [Theory]
    [InlineData("127.0.0.1")]
    [InlineData("0.0.0.0")]
    [InlineData("::1")]
    public async Task A_server_inside_is_reached_by_routing_headers_and_by_host_name(string address)
    {
        var sandbox = await shared.Client.CreateAsync();
        await using var server = await ServeAsync(sandbox, address);

        using var byHeader = Request(sandbox, HttpMethod.Get, "/a%2Fb/../c?x=%20y&z");
        byHeader.Headers.Add("Connection", "X-Hop");
        byHeader.Headers.Add("X-Hop", "1");
        using var answer = await shared.Client.Http.SendAsync(byHeader);
        var seen = await answer.Content.ReadAsStringAsync();

        ((int)answer.StatusCode).ShouldBe(207);
        answer.ReasonPhrase.ShouldBe("Just Fine");
        answer.Headers.GetValues("Set-Cookie").ShouldBe(["a=1", "b=2"]);
        answer.Headers.Contains("X-Secret").ShouldBeFalse();
        seen.ShouldContain("?x=%20y&z\n");
        seen.ShouldNotContain("X-Hop");

        using var byName = new HttpRequestMessage(HttpMethod.Get, "/named");
        byName.Headers.Host = $"8000-{sandbox.Id}.example.org";
        seen = await (await shared.Client.Http.SendAsync(byName)).Content.ReadAsStringAsync();
        seen.ShouldStartWith("GET /named\n");
        seen.ShouldContain($"Host: 8000-{sandbox.Id}.example.org\n");
        await sandbox.KillAsync();
    }

    [Fact]
    public async Task Bodies_go_in_with_a_length_or_in_pieces()
    {
        var sandbox = await shared.Client.CreateAsync();
        await using var server = await ServeAsync(sandbox);
        var big = new string('x', 3_000_000);

        foreach (var chunked in (bool[])[false, true])
        {
            using var request = Request(sandbox, HttpMethod.Post, "/");
            request.Content = new StringContent(big);
            request.Headers.TransferEncodingChunked = chunked;
            var seen = await (await shared.Client.Http.SendAsync(request)).Content.ReadAsStringAsync();
            seen.ShouldContain(chunked ? "Transfer-Encoding: chunked" : "Content-Length: 3000000");
            seen.ShouldEndWith("\n" + big);
        }

        using var empty = Request(sandbox, HttpMethod.Delete, "/");
        (await (await shared.Client.Http.SendAsync(empty)).Content.ReadAsStringAsync()).ShouldNotContain("Transfer-Encoding");
        await sandbox.KillAsync();
    }

    [Fact]
    public async Task An_answer_streams_and_ends_when_the_sandbox_is_killed()
    {
        var sandbox = await shared.Client.CreateAsync();
        await using var server = await ServeAsync(sandbox);
        using var request = Request(sandbox, HttpMethod.Get, "/endless");
        using var answer = await shared.Client.Http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        await using var body = await answer.Content.ReadAsStreamAsync();
        var buffer = new byte[100];

        // The server writes a second piece only when it gets a line, so the first one came on its own.
        (await body.ReadAsync(buffer)).ShouldBe(5);
        var next = body.ReadAsync(buffer).AsTask();
        (await sandbox.KillAsync()).ShouldBe(HttpStatusCode.NoContent);

        await Should.ThrowAsync<IOException>(next.WaitAsync(TimeSpan.FromSeconds(20)));
    }

    [Fact]
    public async Task What_upgrades_is_passed_through_as_bytes_both_ways()
    {
        var sandbox = await shared.Client.CreateAsync();
        await using var server = await sandbox.StartAsync(
            """
            python3 -uc '
            import socket
            s = socket.create_server(("127.0.0.1", 8000)); print("ready")
            while True:
                c, _ = s.accept()
                head = b""
                while not head.endswith(b"\r\n\r\n"): head += c.recv(1)
                assert b"Upgrade: echo" in head and b"Connection: Upgrade" in head, head
                c.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\nX-Extra: 1\r\n\r\nhello ")
                while data := c.recv(100): c.sendall(data.upper())
                print("closed")
            '
            """);
        await server.ReadUntilAsync("ready");
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(shared.Host.Options.UnixSocket!));
        await using var stream = new NetworkStream(socket, ownsSocket: false);

        await stream.WriteAsync(Encoding.ASCII.GetBytes(
            $"GET /chat HTTP/1.1\r\nHost: x\r\nE2b-Sandbox-Id: {sandbox.Id}\r\nE2b-Sandbox-Port: 8000\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"));
        var head = await ReadUntilAsync(stream, "hello ");
        head.ShouldStartWith("HTTP/1.1 101 ");
        head.ShouldContain("X-Extra: 1\r\n");
        head.ShouldContain("Upgrade: echo\r\n");
        await stream.WriteAsync("ping"u8.ToArray());
        (await ReadUntilAsync(stream, "PING")).ShouldBe("PING");
        socket.Shutdown(SocketShutdown.Both);

        await server.ReadUntilAsync("closed");
        await sandbox.KillAsync();
    }

    [Fact]
    public async Task Errors_are_those_of_the_edge()
    {
        var sandbox = await shared.Client.CreateAsync();
        async Task<(int Status, JsonElement Body)> AskAsync(string id, string port)
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, "/");
            request.Headers.Add("E2b-Sandbox-Id", id);
            request.Headers.Add("E2b-Sandbox-Port", port);
            using var answer = await shared.Client.Http.SendAsync(request);
            return ((int)answer.StatusCode, await HostClient.JsonAsync(answer));
        }

        var (closed, body) = await AskAsync(sandbox.Id, "8123");
        closed.ShouldBe(502);
        body.GetProperty("message").GetString().ShouldBe("The sandbox is running but port is not open");
        body.GetProperty("port").GetInt32().ShouldBe(8123);
        body.GetProperty("sandboxId").GetString().ShouldBe(sandbox.Id);
        foreach (var port in (string[])["0", "65536", "x", "-1", ""])
        {
            (await AskAsync(sandbox.Id, port)).Status.ShouldBe(400);
        }

        (await AskAsync("UPPER", "80")).Status.ShouldBe(400);
        (await AskAsync("inothing", "80")).Status.ShouldBe(502);
        await using var rude = await sandbox.StartAsync("""python3 -uc 'import socket; s = socket.create_server(("", 8000)); print("ready"); c = s.accept()[0]; c.recv(9); c.sendall(b"no http\r\n\r\n"); c.close(); s.accept()'""");
        await rude.ReadUntilAsync("ready");
        (await AskAsync(sandbox.Id, "8000")).Status.ShouldBe(502);
        await sandbox.KillAsync();
        (await AskAsync(sandbox.Id, "8000")).Body.GetProperty("message").GetString().ShouldBe("The sandbox was not found");
    }

    [Fact]
    public async Task Ports_that_are_not_public_want_the_traffic_token_and_do_not_see_it()
    {
        using var created = await shared.Client.PostAsync("/v2/sandboxes", """{"templateID":"base","network":{"allowPublicTraffic":false,"maskRequestHost":"localhost:${PORT}"}}""");
        var json = await HostClient.JsonAsync(created);
        var token = json.GetProperty("trafficAccessToken").GetString()!;
        var sandbox = new TestSandbox(shared.Client, json.GetProperty("sandboxID").GetString()!, json.GetProperty("envdAccessToken").GetString()!);
        await using var server = await ServeAsync(sandbox);

        foreach (var wrong in (string?[])[null, "", "wrong", token[1..]])
        {
            using var refused = Request(sandbox, HttpMethod.Get, "/");
            if (wrong is not null)
            {
                refused.Headers.TryAddWithoutValidation("e2b-traffic-access-token", wrong);
            }

            (await shared.Client.Http.SendAsync(refused)).StatusCode.ShouldBe(HttpStatusCode.Forbidden);
        }

        using var request = Request(sandbox, HttpMethod.Get, "/");
        request.Headers.Add("E2B-Traffic-Access-Token", token);
        var seen = await (await shared.Client.Http.SendAsync(request)).Content.ReadAsStringAsync();
        seen.ShouldContain("Host: localhost:8000\n");
        seen.ShouldNotContain(token);
        await sandbox.KillAsync();
    }

    private static async Task<TestStream> ServeAsync(TestSandbox sandbox, string address = "127.0.0.1")
    {
        var script = "cat > /tmp/s.py <<'END'\n" + Echo + "\nEND\nexec python3 /tmp/s.py " + address;
        var stream = await sandbox.StartAsync(script, stdin: true);
        await stream.ReadUntilAsync("ready");
        return stream;
    }

    private static HttpRequestMessage Request(TestSandbox sandbox, HttpMethod method, string path)
    {
        var request = new HttpRequestMessage(method, path);
        request.Headers.Add("E2b-Sandbox-Id", sandbox.Id);
        request.Headers.Add("E2b-Sandbox-Port", "8000");
        return request;
    }

    private static async Task<string> ReadUntilAsync(NetworkStream stream, string end)
    {
        using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        var text = new StringBuilder();
        var buffer = new byte[1];
        while (!text.ToString().EndsWith(end, StringComparison.Ordinal) && await stream.ReadAsync(buffer, patience.Token) == 1)
        {
            text.Append((char)buffer[0]);
        }

        return text.ToString();
    }
}
