using System.Diagnostics;
using System.Text.Json;
using InterpreterKernel.Protocol.Jupyter;
using InterpreterKernel.Protocol.ZeroMq;

namespace InterpreterKernel.Kernel.Tests.Jupyter;

/// <summary>Debian's jupyter_client and pyzmq as the client: framing, signatures and dates are what they take.</summary>
public sealed class PythonClientTests
{
    private const string Python = "/usr/bin/python3";

    private const string Script = """
        import datetime, json, os, sys, traceback, zmq
        from jupyter_client.session import Session

        info = json.load(open(sys.argv[1]))
        session = Session(key=info["key"].encode(), signature_scheme=info["signature_scheme"])
        context = zmq.Context()

        def connect(kind, name):
            socket = context.socket(kind)
            socket.linger = 0
            socket.rcvtimeo = 20000
            if kind == zmq.DEALER:
                socket.identity = session.bsession
            if kind == zmq.SUB:
                socket.subscribe(b"")
            if info["curve_publickey"]:
                socket.curve_serverkey = socket.curve_publickey = info["curve_publickey"].encode()
                socket.curve_secretkey = info["curve_secretkey"].encode()
            glue = "-" if info["transport"] == "ipc" else ":"
            socket.connect(info["transport"] + "://" + info["ip"] + glue + str(info[name + "_port"]))
            return socket

        def ask(socket, kind, content, buffers=None):
            request = session.send(socket, kind, content, buffers=buffers)
            return request["header"]["msg_id"], session.recv(socket, mode=0)[1]

        def statuses(iopub, msg_id):
            found = []
            while len(found) < 2:
                status = session.recv(iopub, mode=0)[1]
                if status["parent_header"]["msg_id"] == msg_id:
                    found.append(status)
            return found

        def run():
            iopub = connect(zmq.SUB, "iopub")
            channels = [connect(zmq.DEALER, name) for name in ("shell", "control", "stdin")]
            while True:  # until the subscription has taken effect
                ask(channels[0], "probe_request", {})
                if iopub.poll(200):
                    break
            big = bytes(range(256)) * 1000
            for socket in channels:
                msg_id, reply = ask(socket, "comm_msg", {"text": "\u00fc\U0001F600"}, [b"", b"\x00\xff", big])
                assert reply["content"] == {"text": "\u00fc\U0001F600"}, reply
                assert [bytes(b) for b in reply["buffers"]] == [b"", b"\x00\xff", big]
                assert reply["parent_header"]["msg_id"] == msg_id
                busy, idle = statuses(iopub, msg_id)
                assert busy["content"]["execution_state"] == "busy", busy
                assert idle["content"]["execution_state"] == "idle", idle
                assert isinstance(idle["header"]["date"], datetime.datetime), idle
                assert idle["header"]["session"] == "the-kernel"
            heart = connect(zmq.REQ, "hb")
            heart.send(b"ping")
            assert heart.recv() == b"ping"

        try:
            run()
            print("all is well", flush=True)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)  # without waiting for sockets that are of no use any more
        """;

    [Theory]
    [InlineData(JupyterTransport.Tcp, "hmac-sha256", false)]
    [InlineData(JupyterTransport.Tcp, "hmac-sha512", false)]
    [InlineData(JupyterTransport.Ipc, "hmac-sha256", false)]
    [InlineData(JupyterTransport.Tcp, "hmac-sha256", true)]
    public async Task Jupyter_client_understands_us_and_we_it(JupyterTransport transport, string scheme, bool encrypted)
    {
        var curve = encrypted ? CurveKeyPair.Generate() : null;
        await using var fixture = new SocketsFixture(
            transport, "a-key", scheme == "hmac-sha512" ? SignatureScheme.HmacSha512 : SignatureScheme.HmacSha256, curve);
        var messages = new KernelMessages("the-kernel", "kernel", TimeProvider.System);
        fixture.OnMessage = (channel, request) =>
        {
            fixture.Sockets.Send(JupyterChannel.Iopub, messages.Status("busy", request));
            fixture.Sockets.Send(channel, SocketsFixture.ReplyTo(request));
            fixture.Sockets.Send(JupyterChannel.Iopub, messages.Status("idle", request));
        };
        var path = Path.Combine(Path.GetTempPath(), $"ik-python-{Guid.NewGuid()}.json");
        await File.WriteAllTextAsync(path, JsonSerializer.Serialize(new Dictionary<string, object?>
        {
            ["shell_port"] = fixture.File.ShellPort,
            ["iopub_port"] = fixture.File.IopubPort,
            ["stdin_port"] = fixture.File.StdinPort,
            ["control_port"] = fixture.File.ControlPort,
            ["hb_port"] = fixture.File.HeartbeatPort,
            ["ip"] = fixture.File.Ip,
            ["transport"] = transport == JupyterTransport.Ipc ? "ipc" : "tcp",
            ["key"] = fixture.File.Key,
            ["signature_scheme"] = scheme,
            ["curve_publickey"] = curve?.PublicKey,
            ["curve_secretkey"] = curve?.SecretKey,
        }));
        try
        {
            var (exitCode, output) = await RunAsync(path);

            exitCode.ShouldBe(0, output);
            output.ShouldContain("all is well");
            fixture.Sockets.Counters.BadSignatures.ShouldBe(0);
            fixture.Sockets.Counters.Malformed.ShouldBe(0);
        }
        finally
        {
            File.Delete(path);
        }
    }

    private static async Task<(int ExitCode, string Output)> RunAsync(string connectionFile)
    {
        var start = new ProcessStartInfo(Python, ["-c", Script, connectionFile]) { RedirectStandardOutput = true, RedirectStandardError = true };
        using var python = Process.Start(start)!;
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        try
        {
            var output = python.StandardOutput.ReadToEndAsync(limit.Token);
            var errors = python.StandardError.ReadToEndAsync(limit.Token);
            await python.WaitForExitAsync(limit.Token);
            return (python.ExitCode, await output + await errors);
        }
        finally
        {
            python.Kill();
        }
    }
}
