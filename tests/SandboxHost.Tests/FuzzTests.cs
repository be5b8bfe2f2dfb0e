using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net.Sockets;
using System.Text;
using Google.Protobuf;
using InterpreterKernel.Protocol.Envd;

namespace InterpreterKernel.SandboxHost.Tests;

/// <summary>Ten thousand damaged requests, made from one seed: REST, Connect, envelopes, uploads, routing, and plain garbage.</summary>
[Collection(AloneCollection.Name)]
public sealed class FuzzTests
{
    private const int Inputs = 10_000;
    private const int AtOnce = 8;
    private const int Seed = 20261122;

    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(20);

    [Fact]
    public async Task Damaged_requests_get_an_answer_that_is_not_our_fault_and_cost_nothing_that_stays()
    {
        await using var host = await TestHost.StartAsync(o => o with
        {
            Limit = 4,
            Resources = new SandboxResources { MemoryBytes = 256 << 20, Pids = 128, DiskBytes = 64 << 20, TmpBytes = 16 << 20, SharedMemoryBytes = 4 << 20 },
        });
        var target = await host.Client.CreateAsync("""{"templateID":"base","timeout":3600}""");
        var victim = await host.Client.CreateAsync("""{"templateID":"base","timeout":3600}""");
        var inputs = new FuzzInputs(new Random(Seed), target, victim).Take(Inputs).ToList();

        // The first part warms up; what it allocates for good is not growth.
        var answers = new ConcurrentDictionary<int, int>();
        await RunAsync(host, inputs.Take(Inputs / 10), answers);
        var before = Measure();
        await RunAsync(host, inputs.Skip(Inputs / 10), answers);

        answers.Keys.Where(status => status is 500 or 503 or 504).ShouldBeEmpty();
        answers.Values.Sum().ShouldBe(Inputs);
        answers.Keys.Count(status => status >= 400).ShouldBeGreaterThan(5);
        answers.ShouldContainKey(200);

        // Connections that were just closed are taken down in the background.
        var clock = Stopwatch.StartNew();
        while (Measure().Descriptors > before.Descriptors + 30 && clock.Elapsed < TimeSpan.FromSeconds(10))
        {
            await Task.Yield();
        }

        var after = Measure();
        after.Descriptors.ShouldBeLessThanOrEqualTo(before.Descriptors + 30);
        (after.Heap - before.Heap).ShouldBeLessThan(24 << 20);
        (await target.RunAsync("echo fine")).Stdout.ShouldBe("fine\n");
    }

    private static async Task RunAsync(TestHost host, IEnumerable<byte[]> inputs, ConcurrentDictionary<int, int> answers) =>
        await Parallel.ForEachAsync(inputs, new ParallelOptions { MaxDegreeOfParallelism = AtOnce }, async (input, _) =>
        {
            var status = await SendAsync(host, input);
            answers.AddOrUpdate(status, 1, (_, count) => count + 1);
            if (status is 500 or 503 or 504)
            {
                throw new InvalidOperationException($"{status} for {Encoding.Latin1.GetString(input)}");
            }
        });

    /// <summary>Sends the bytes, tells that there will be no more, and reads to the end. The status; 0 when there was none.</summary>
    private static async Task<int> SendAsync(TestHost host, byte[] input)
    {
        using var patience = new CancellationTokenSource(s_patience);
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(host.Options.UnixSocket!), patience.Token);
        var answer = new byte[512];
        var filled = 0;
        try
        {
            // Garbage may wait for more; only then is the end of the sending told (to Kestrel that is a caller who left).
            var complete = Encoding.Latin1.GetString(input).Contains("Connection: close\r\n", StringComparison.Ordinal);
            await socket.SendAsync(input, patience.Token);
            if (!complete)
            {
                socket.Shutdown(SocketShutdown.Send);
            }

            var buffer = new byte[16 * 1024];
            while (await socket.ReceiveAsync(buffer, patience.Token) is > 0 and var count)
            {
                var taken = Math.Min(count, answer.Length - filled);
                buffer.AsSpan(0, taken).CopyTo(answer.AsSpan(filled));
                filled += taken;
            }
        }
        catch (SocketException)
        {
            // Cut off, which is an answer too.
            return filled == 0 ? 0 : Status(answer, filled);
        }
        catch (OperationCanceledException)
        {
            throw new TimeoutException($"no end within {s_patience.TotalSeconds:0} s of {Encoding.Latin1.GetString(input)}");
        }

        return Status(answer, filled);
    }

    /// <summary>The status. A 500 that envd itself gives, such as input for a process without any, is no fault of ours; it counts as 599.</summary>
    private static int Status(byte[] answer, int filled)
    {
        var status = Number(answer, filled);
        return status == 500 && Encoding.Latin1.GetString(answer, 0, filled).Contains("{\"code\":\"internal\"", StringComparison.Ordinal) ? 599 : status;
    }

    private static int Number(byte[] answer, int filled) =>
        filled >= 12 && Encoding.ASCII.GetString(answer, 0, 9) == "HTTP/1.1 " && int.TryParse(Encoding.ASCII.GetString(answer, 9, 3), out var status) ? status : 0;

    private static (int Descriptors, long Heap) Measure() => (Directory.EnumerateFiles("/proc/self/fd").Count(), GC.GetTotalMemory(forceFullCollection: true));
}

/// <summary>Makes requests out of valid ones by damaging them.</summary>
internal sealed class FuzzInputs(Random random, TestSandbox target, TestSandbox victim)
{
    private static readonly string[] s_interesting =
    [
        "", "\0", "%00", "%", "%zz", "../", "..%2f", "\"", "{", "}", "[", "]", ":", ",", "null", "true", "-1", "0", "99999999999999999999", "1e999", "NaN", "\\u0000", "\\ud800",
        "\u00ff", "\r\n", "\r", "\n", "\t", " ", ";", "&", "=", "?", "#", "*", "chunked", "gzip", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "Expect: 100-continue\r\n",
        "Upgrade: websocket\r\nConnection: Upgrade\r\n", "2147483648", "4294967296", "-0", "0x10", "[[[[[[[[[[[[[[[[", "{\"a\":{\"a\":{\"a\":", new string('a', 5000), new string('9', 40),
    ];

    private static readonly string[] s_methods = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "CONNECT", "TRACE", "BREW"];

    internal IEnumerable<byte[]> Take(int count) => Enumerable.Range(0, count).Select(_ => random.Next(10) switch
    {
        < 3 => Rest(),
        < 5 => Unary(),
        < 7 => Streaming(),
        7 => Upload(),
        8 => Routed(),
        _ => Garbage(),
    });

    private byte[] Rest()
    {
        var id = random.Next(4) == 0 ? "inothing" : victim.Id;
        var (method, path, body) = random.Next(14) switch
        {
            0 => ("POST", "/v2/sandboxes", """{"templateID":"bases","timeout":30,"metadata":{"a":"b"},"envVars":{"C":"d"}}"""),
            1 => ("POST", "/sandboxes", """{"templateID":"nothing","timeout":30,"secure":true,"autoPause":false,"autoResume":{"enabled":false}}"""),
            2 => ("POST", "/v2/sandboxes", """{"templateID":"-","network":{"allowOut":["1.1.1.1"],"denyOut":[],"rules":{},"egressProxy":null,"maskRequestHost":"x"},"mcp":null}"""),
            3 => ("GET", "/v2/sandboxes?state=running,paused&metadata=k%25253Dv&limit=5&order=asc&startedAfter=2026-01-01T00:00:00Z&nextToken=MTIz", ""),
            4 => ("GET", "/sandboxes?metadata=a%3Db", ""),
            5 => ("GET", $"/sandboxes/{id}", ""),
            6 => ("POST", $"/sandboxes/{id}/timeout", """{"timeout":3600}"""),
            7 => ("POST", $"/sandboxes/{id}/refreshes", """{"duration":60}"""),
            8 => ("POST", $"/v2/sandboxes/{id}/connect", """{"timeout":3600,"memory":true}"""),
            9 => ("POST", $"/sandboxes/{id}/resume", """{"timeout":3600}"""),
            10 => ("GET", $"/sandboxes/{id}/metrics?start=0&end=99", ""),
            11 => ("GET", $"/v2/sandboxes/{id}/logs?cursor=1&limit=5&direction=backward&level=info&search=x", ""),
            12 => ("PUT", $"/sandboxes/{id}/network", """{"allowOut":[],"denyOut":["0.0.0.0/0"]}"""),
            _ => ("POST", $"/sandboxes/{id}/snapshots", """{"name":"x"}"""),
        };
        method = random.Next(10) == 0 ? s_methods[random.Next(s_methods.Length)] : method;
        return Request(method, random.Next(2) == 0 ? Damage(path) : path, "Content-Type: application/json\r\n", Damage(Encoding.UTF8.GetBytes(body)));
    }

    private byte[] Unary()
    {
        var selector = new ProcessSelector { Pid = (uint)random.Next(100) };
        (string Method, IMessage Message) call = random.Next(6) switch
        {
            0 => ("List", new ListRequest()),
            1 => ("SendInput", new SendInputRequest { Process = selector, Input = new ProcessInput { Stdin = ByteString.CopyFromUtf8("abc") } }),
            2 => ("SendSignal", new SendSignalRequest { Process = selector, Signal = Signal.Sigterm }),
            3 => ("CloseStdin", new CloseStdinRequest { Process = selector }),
            4 => ("Update", new UpdateRequest { Process = selector }),
            _ => ("Nothing", new ListRequest()),
        };
        var json = random.Next(2) == 0;
        var body = json ? Encoding.UTF8.GetBytes(JsonFormatter.Default.Format(call.Message)) : call.Message.ToByteArray();
        var path = "/process.Process/" + call.Method;
        if (random.Next(4) == 0)
        {
            path = "/filesystem.Filesystem/" + ((string[])["Stat", "ListDir", "MakeDir", "Remove", "Move"])[random.Next(5)];
            body = Encoding.UTF8.GetBytes("""{"path":"/tmp/fuzz/x","source":"/tmp/fuzz/a","destination":"/tmp/fuzz/b","depth":1}""");
            json = true;
        }

        return Request("POST", path, Envd() + $"Content-Type: application/{(json ? "json" : "proto")}\r\n", Damage(body));
    }

    private byte[] Streaming()
    {
        var start = new StartRequest { Process = new ProcessConfig { Cmd = "true", Args = { "a" }, Cwd = "/tmp", Envs = { ["A"] = "b" } }, Stdin = false };
        (string Method, IMessage Message) call = random.Next(3) switch
        {
            0 => ("Start", start),
            1 => ("Connect", new ConnectRequest { Process = new ProcessSelector { Pid = (uint)random.Next(100) } }),
            _ => ("StreamInput", new StreamInputRequest { Start = new StreamInputRequest.Types.StartEvent { Process = new ProcessSelector { Tag = "none" } } }),
        };
        var json = random.Next(2) == 0;
        var payload = json ? Encoding.UTF8.GetBytes(JsonFormatter.Default.Format(call.Message)) : call.Message.ToByteArray();
        payload = random.Next(2) == 0 ? Damage(payload) : payload;
        var length = random.Next(5) == 0 ? random.Next(int.MinValue, int.MaxValue) : payload.Length;
        byte[] envelope = [(byte)(random.Next(5) == 0 ? random.Next(256) : 0), (byte)(length >> 24), (byte)(length >> 16), (byte)(length >> 8), (byte)length, .. payload];
        var timeout = random.Next(10) == 0 ? Damage("500") : "500";
        return Request(
            "POST", "/process.Process/" + call.Method, Envd() + $"Content-Type: application/connect+{(json ? "json" : "proto")}\r\nConnect-Timeout-Ms: {Header(timeout, "500")}\r\n", random.Next(3) == 0 ? Damage(envelope) : envelope);
    }

    private byte[] Upload()
    {
        var multipart = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"/tmp/fuzz/x\"\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b--\r\n";
        var kind = random.Next(3);
        return kind == 2
            ? Request("GET", "/files?path=" + Damage("/tmp/fuzz/x"), Envd() + "Range: bytes=" + Header(Damage("0-5"), "0-5") + "\r\n", [])
            : Request(
                "POST",
                "/files" + (kind == 0 ? "" : "?path=" + Damage("/tmp/fuzz/y") + "&username=user"),
                Envd() + (kind == 0 ? "Content-Type: multipart/form-data; boundary=" + Header(Damage("b"), "b") : "Content-Type: application/octet-stream") + "\r\n",
                Damage(Encoding.UTF8.GetBytes(multipart)));
    }

    private byte[] Routed()
    {
        var headers = random.Next(3) switch
        {
            0 => $"E2b-Sandbox-Id: {Header(Damage(target.Id), target.Id)}\r\nE2b-Sandbox-Port: {Header(Damage("49983"), "1")}\r\n",
            1 => $"E2b-Sandbox-Id: {target.Id}\r\nE2b-Sandbox-Port: {Header(Damage("8123"), "8123")}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
            _ => "",
        };
        var host = headers.Length == 0 ? Header(Damage($"8123-{target.Id}.example.org"), "x") : "x";
        return Request(s_methods[random.Next(s_methods.Length)], Damage("/a/b?c=d"), headers, Damage("body"u8.ToArray()), host);
    }

    private byte[] Garbage()
    {
        var valid = Request("POST", "/v2/sandboxes", Envd(), """{"templateID":"bases"}"""u8.ToArray());
        var damaged = Encoding.Latin1.GetString(Damage(Damage(valid))).Replace("Connection: close", "Connection: x", StringComparison.Ordinal);
        var bytes = Encoding.Latin1.GetBytes(damaged);
        if (random.Next(3) == 0)
        {
            random.NextBytes(bytes);
        }

        return bytes;
    }

    private string Envd() => $"E2b-Sandbox-Id: {target.Id}\r\nE2b-Sandbox-Port: 49983\r\nX-Access-Token: {(random.Next(20) == 0 ? "wrong" : target.Token)}\r\n";

    /// <summary>The length is always right, so that the host waits for nothing; what garbage lacks is its own.</summary>
    private static byte[] Request(string method, string path, string headers, byte[] body, string host = "x")
    {
        var target = path.Replace('\r', '.').Replace('\n', '.').Replace(' ', '.');
        return [.. Encoding.Latin1.GetBytes($"{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}Content-Length: {body.Length}\r\n\r\n"), .. body];
    }

    private static string Header(string value, string otherwise) => value.AsSpan().ContainsAny('\r', '\n', '\0') ? otherwise : value;

    private string Damage(string text) => Encoding.Latin1.GetString(Damage(Encoding.Latin1.GetBytes(text)));

    private byte[] Damage(byte[] bytes)
    {
        var list = bytes.ToList();
        for (var i = random.Next(1, 4); i > 0; i--)
        {
            var at = random.Next(list.Count + 1);
            var length = Math.Min(random.Next(1, 9), list.Count - at);
            switch (random.Next(6))
            {
                case 0 when at < list.Count:
                    list[at] ^= (byte)(1 << random.Next(8));
                    break;
                case 1:
                    list.RemoveRange(at, length);
                    break;
                case 2:
                    list.RemoveRange(at, list.Count - at);
                    break;
                case 3:
                    list.InsertRange(at, list.GetRange(at, length));
                    break;
                case 4 when at < list.Count:
                    list[at] = (byte)random.Next(256);
                    break;
                default:
                    list.InsertRange(at, Encoding.Latin1.GetBytes(s_interesting[random.Next(s_interesting.Length)]));
                    break;
            }
        }

        return [.. list];
    }
}
