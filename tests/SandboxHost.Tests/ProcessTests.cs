using System.Diagnostics;
using System.Net;
using System.Text;
using Google.Protobuf;
using InterpreterKernel.Protocol.Connect;
using InterpreterKernel.Protocol.Envd;

namespace InterpreterKernel.SandboxHost.Tests;

/// <summary>envd's behaviour as measured on the real one (reference: envd-behaviour.md); each test names a row of it.</summary>
[Collection(SharedHostCollection.Name)]
public sealed class ProcessTests(SharedHost shared) : IAsyncLifetime
{
    private TestSandbox _sandbox = null!;

    public async Task InitializeAsync() => _sandbox = await shared.Client.CreateAsync("""{"templateID":"base","envVars":{"FROM_CREATE":"1","BOTH":"create"}}""");

    public async Task DisposeAsync() => await _sandbox.KillAsync();

    [Fact]
    public async Task The_environment_is_made_from_nothing_but_what_is_listed()
    {
        var request = new StartRequest { Process = new ProcessConfig { Cmd = "/usr/bin/env", Envs = { ["BOTH"] = "request", ["X"] = "ä" } }, Stdin = false };
        await using var stream = await _sandbox.StreamAsync("Start", request);

        var environment = (await stream.ReadToEndAsync()).Stdout.Split('\n', StringSplitOptions.RemoveEmptyEntries).Order();

        environment.ShouldBe(
        [
            "BOTH=request", "E2B_SANDBOX=true", "E2B_SANDBOX_ID=" + _sandbox.Id, "E2B_TEMPLATE_ID=base", "FROM_CREATE=1", "HOME=/home/user",
            "LOGNAME=user", "PATH=/usr/bin:/usr/local/bin:/bin", "USER=user", "X=ä",
        ]);
    }

    [Fact]
    public async Task A_login_shell_keeps_the_templates_python_first()
    {
        var request = new StartRequest { Process = new ProcessConfig { Cmd = "/bin/bash", Args = { "-l", "-c", "command -v python3; python3 -c 'import ipykernel, zmq; print(ipykernel.__name__)'" } }, Stdin = false };
        await using var stream = await _sandbox.StreamAsync("Start", request);

        (await stream.ReadToEndAsync()).ShouldBe(new TestResult("/usr/bin/python3\nipykernel\n", "", 0, true, "exit status 0", null));
    }

    [Theory]
    [InlineData("nonesuch", 127, "No such file or directory")]
    [InlineData("/etc/passwd", 126, "Permission denied")]
    [InlineData("/home", 126, "Permission denied")]
    [InlineData("", 127, "No such file or directory")]
    public async Task A_command_that_is_none_is_not_an_error_of_the_call(string command, int exitCode, string message)
    {
        await using var stream = await _sandbox.StreamAsync("Start", new StartRequest { Process = new ProcessConfig { Cmd = command } });

        var result = await stream.ReadToEndAsync();

        result.ExitCode.ShouldBe(exitCode);
        result.Stderr.ShouldContain(message);
    }

    [Fact]
    public async Task A_script_without_interpreter_line_runs_in_the_shell()
    {
        var result = await _sandbox.RunAsync("printf 'echo script $1' > s; chmod +x s; exec python3 -c 'import os; os.execv(\"/bin/true\", [\"true\"])'");
        result.ExitCode.ShouldBe(0);
        await using var stream = await _sandbox.StreamAsync("Start", new StartRequest { Process = new ProcessConfig { Cmd = "/home/user/s", Args = { "arg" } } });

        (await stream.ReadToEndAsync()).Stdout.ShouldBe("script arg\n");
    }

    [Theory]
    [InlineData("/nonesuch", "cwd '/nonesuch' does not exist")]
    [InlineData("/etc/passwd", "not a directory")]
    public async Task A_missing_working_directory_is_an_invalid_argument(string cwd, string message)
    {
        await using var stream = await _sandbox.StreamAsync("Start", new StartRequest { Process = new ProcessConfig { Cmd = "pwd", Cwd = cwd } });

        stream.Error!.Code.ShouldBe(ConnectCode.InvalidArgument);
        stream.Error.Message.ShouldContain(message);
    }

    [Theory]
    [InlineData("~", "/home/user")]
    [InlineData("sub", "/home/user/sub")]
    [InlineData("~/sub", "/home/user/sub")]
    [InlineData("/tmp", "/tmp")]
    [InlineData("", "/home/user")]
    public async Task A_working_directory_may_be_relative_to_the_home(string cwd, string expected)
    {
        await _sandbox.RunAsync("mkdir sub");
        await using var stream = await _sandbox.StreamAsync("Start", new StartRequest { Process = new ProcessConfig { Cmd = "pwd", Cwd = cwd } });

        (await stream.ReadToEndAsync()).Stdout.ShouldBe(expected + "\n");
    }

    [Theory]
    [InlineData(200_000)]
    [InlineData(131_072)]
    public async Task An_argument_that_is_too_long_is_an_invalid_argument(int length)
    {
        await using var stream = await _sandbox.StreamAsync("Start", TestSandbox.Bash(new string('x', length)));

        stream.Error.ShouldBe(new ConnectError(ConnectCode.InvalidArgument, "fork/exec: argument list too long"));
    }

    [Fact]
    public async Task An_argument_of_the_greatest_length_passes()
    {
        var request = new StartRequest { Process = new ProcessConfig { Cmd = "/bin/echo", Args = { new string('x', 131_070) } } };
        await using var stream = await _sandbox.StreamAsync("Start", request);

        (await stream.ReadToEndAsync()).Stdout.Length.ShouldBe(131_071);
    }

    [Fact]
    public async Task Input_is_echoed_and_its_end_ends_the_reader()
    {
        await using var stream = await _sandbox.StartAsync("cat; echo done", stdin: true);
        var process = new ProcessSelector { Pid = stream.Pid };

        (await _sandbox.CallAsync("SendInput", new SendInputRequest { Process = process, Input = new ProcessInput { Stdin = ByteString.CopyFromUtf8("grüß\n") } })).StatusCode.ShouldBe(HttpStatusCode.OK);
        await stream.ReadUntilAsync("grüß\n");
        (await _sandbox.CallAsync("CloseStdin", new CloseStdinRequest { Process = process })).StatusCode.ShouldBe(HttpStatusCode.OK);
        (await stream.ReadToEndAsync()).Stdout.ShouldBe("done\n");
    }

    [Fact]
    public async Task Closing_input_again_does_nothing_and_writing_then_fails()
    {
        await using var stream = await _sandbox.StartAsync("sleep 1000", stdin: true);
        var process = new ProcessSelector { Pid = stream.Pid };
        for (var i = 0; i < 2; i++)
        {
            (await _sandbox.CallAsync("CloseStdin", new CloseStdinRequest { Process = process })).StatusCode.ShouldBe(HttpStatusCode.OK);
        }

        using var answer = await _sandbox.CallAsync("SendInput", new SendInputRequest { Process = process, Input = new ProcessInput { Stdin = ByteString.CopyFromUtf8("x") } });

        ((int)answer.StatusCode).ShouldBe(500);
        var error = ConnectError.TryParse(await answer.Content.ReadAsByteArrayAsync())!;
        error.ShouldBe(new ConnectError(ConnectCode.Internal, "error writing to stdin: stdin not enabled or closed"));
    }

    [Fact]
    public async Task Input_to_one_who_does_not_read_waits_and_a_kill_releases_it()
    {
        await using var stream = await _sandbox.StartAsync("sleep 1000", stdin: true);
        var process = new ProcessSelector { Pid = stream.Pid };
        var input = new SendInputRequest { Process = process, Input = new ProcessInput { Stdin = ByteString.CopyFrom(new byte[65_536]) } };
        (await _sandbox.CallAsync("SendInput", input)).StatusCode.ShouldBe(HttpStatusCode.OK);

        var stuck = _sandbox.CallAsync("SendInput", input);
        var close = _sandbox.CallAsync("CloseStdin", new CloseStdinRequest { Process = process });
        (await _sandbox.CallAsync("SendSignal", new SendSignalRequest { Process = process, Signal = Signal.Sigkill })).StatusCode.ShouldBe(HttpStatusCode.OK);

        ((int)(await stuck).StatusCode).ShouldBe(500);
        (await close).StatusCode.ShouldBe(HttpStatusCode.OK);
        (await stream.ReadToEndAsync()).Status.ShouldBe("signal: killed");
    }

    [Fact]
    public async Task A_stream_of_input_delivers_each_envelope_as_it_comes()
    {
        await using var stream = await _sandbox.StartAsync("cat", stdin: true);
        var content = new OpenContent();
        using var request = _sandbox.Request(HttpMethod.Post, "/process.Process/StreamInput", content);
        content.Headers.ContentType = new("application/connect+proto");
        var call = shared.Client.Http.SendAsync(request);
        var body = await content.Body;
        async Task WriteAsync(StreamInputRequest message)
        {
            var envelope = new System.Buffers.ArrayBufferWriter<byte>();
            Envelope.WriteHeader(envelope, 0, message.CalculateSize());
            message.WriteTo(envelope);
            await body.WriteAsync(envelope.WrittenMemory);
            await body.FlushAsync();
        }

        await WriteAsync(new StreamInputRequest { Start = new StreamInputRequest.Types.StartEvent { Process = new ProcessSelector { Pid = stream.Pid } } });
        for (var i = 0; i < 3; i++)
        {
            await WriteAsync(new StreamInputRequest { Data = new StreamInputRequest.Types.DataEvent { Input = new ProcessInput { Stdin = ByteString.CopyFromUtf8($"line {i}\n") } } });
            await stream.ReadUntilAsync($"line {i}\n");
            await WriteAsync(new StreamInputRequest { Keepalive = new StreamInputRequest.Types.KeepAlive() });
        }

        content.End();
        using var answer = await call;
        answer.StatusCode.ShouldBe(HttpStatusCode.OK);
        var answered = new System.Buffers.ReadOnlySequence<byte>(await answer.Content.ReadAsByteArrayAsync());
        Envelope.TryRead(ref answered, out _, out var message).ShouldBeTrue();
        message.Length.ShouldBe(0);
        Envelope.TryRead(ref answered, out _, out var end).ShouldBeTrue();
        Envelope.ReadEnd(end).ShouldBeNull();
    }

    [Fact]
    public async Task A_signal_reaches_the_leader_only_and_its_end_comes_at_once()
    {
        await using var stream = await _sandbox.StartAsync("sleep 1000 & echo child $!; wait");
        var child = (await stream.ReadUntilAsync("\n")).Split(' ')[1].Trim();

        await _sandbox.CallAsync("SendSignal", new SendSignalRequest { Process = new ProcessSelector { Pid = stream.Pid }, Signal = Signal.Sigkill });

        var end = await stream.ReadToEndAsync();
        end.ShouldBe(new TestResult("", "", -1, false, "signal: killed", "signal: killed"));
        (await _sandbox.RunAsync($"kill -0 {child} && echo alive")).Stdout.ShouldBe("alive\n");
    }

    [Fact]
    public async Task A_handler_of_sigterm_runs_and_its_output_and_code_are_told()
    {
        await using var stream = await _sandbox.StartAsync("trap 'head -c 30000 /dev/zero; exit 5' TERM; echo on; while :; do sleep 0.05; done");
        await stream.ReadUntilAsync("on\n");

        await _sandbox.CallAsync("SendSignal", new SendSignalRequest { Process = new ProcessSelector { Pid = stream.Pid }, Signal = Signal.Sigterm });

        var end = await stream.ReadToEndAsync();
        end.ExitCode.ShouldBe(5);
        end.Stdout.Length.ShouldBe(30000);
    }

    [Fact]
    public async Task The_end_waits_for_whoever_holds_the_output()
    {
        await using var stream = await _sandbox.StartAsync("(sleep 0.5; echo late) & exit 3");

        var clock = Stopwatch.StartNew();
        var end = await stream.ReadToEndAsync();

        clock.ElapsedMilliseconds.ShouldBeGreaterThan(300);
        end.ShouldBe(new TestResult("late\n", "", 3, true, "exit status 3", "exit status 3"));
    }

    [Theory]
    [InlineData(0, "SIGNAL_UNSPECIFIED")]
    [InlineData(2, "2")]
    [InlineData(99, "99")]
    public async Task Other_signals_are_refused(int signal, string name)
    {
        await using var stream = await _sandbox.StartAsync("sleep 1000");

        using var answer = await _sandbox.CallAsync("SendSignal", new SendSignalRequest { Process = new ProcessSelector { Pid = stream.Pid }, Signal = (Signal)signal });

        ((int)answer.StatusCode).ShouldBe(501);
        ConnectError.TryParse(await answer.Content.ReadAsByteArrayAsync()).ShouldBe(new ConnectError(ConnectCode.Unimplemented, "invalid signal: " + name));
    }

    [Fact]
    public async Task Output_without_a_reader_is_discarded_and_a_new_reader_gets_what_comes_from_then_on()
    {
        var first = await _sandbox.StartAsync("echo one; read x; echo two; head -c 10000000 /dev/zero; touch drained; read x; echo three; read x", stdin: true);
        await first.ReadUntilAsync("one\n");
        await first.DisposeAsync();
        async Task EnterAsync() => (await _sandbox.CallAsync("SendInput", new SendInputRequest { Process = new ProcessSelector { Pid = first.Pid }, Input = new ProcessInput { Stdin = ByteString.CopyFromUtf8("\n") } })).StatusCode.ShouldBe(HttpStatusCode.OK);

        // With nobody connected the ten megabytes must not block it.
        await EnterAsync();
        await WaitUntilAsync(async () => (await _sandbox.RunAsync("test -e drained")).ExitCode == 0);
        await using var second = await _sandbox.StreamAsync("Connect", new ConnectRequest { Process = new ProcessSelector { Pid = first.Pid } });
        second.Pid.ShouldBe(first.Pid);
        await EnterAsync();

        (await second.ReadUntilAsync("three\n")).ShouldBe("three\n");
    }

    [Fact]
    public async Task All_readers_get_everything_and_the_slowest_sets_the_pace()
    {
        await using var fast = await _sandbox.StartAsync("read x; head -c 33554432 /dev/zero; read x", stdin: true);
        await using var slow = await _sandbox.StreamAsync("Connect", new ConnectRequest { Process = new ProcessSelector { Pid = fast.Pid } });
        await _sandbox.CallAsync("SendInput", new SendInputRequest { Process = new ProcessSelector { Pid = fast.Pid }, Input = new ProcessInput { Stdin = ByteString.CopyFromUtf8("\n") } });

        var (received, next) = await ReadForAsync(fast, TimeSpan.FromSeconds(1));
        received.ShouldBeLessThan(20 << 20);
        received.ShouldBeGreaterThan(64 << 10);

        // The slow one leaves; the other gets all the rest.
        await slow.DisposeAsync();
        while (received < 33_554_432)
        {
            received += (await next)!.Data.Stdout.Length;
            next = fast.NextAsync();
        }

        received.ShouldBe(33_554_432);
        await _sandbox.CallAsync("SendSignal", new SendSignalRequest { Process = new ProcessSelector { Pid = fast.Pid }, Signal = Signal.Sigkill });
        (await next)!.End.Status.ShouldBe("signal: killed");
    }

    [Fact]
    public async Task An_ended_process_tells_its_end_for_a_while_to_who_connects()
    {
        uint pid;
        await using (var stream = await _sandbox.StartAsync("echo gone; exit 4"))
        {
            pid = stream.Pid;
            await stream.ReadToEndAsync();
        }

        await using var again = await _sandbox.StreamAsync("Connect", new ConnectRequest { Process = new ProcessSelector { Pid = pid } });
        (await again.ReadToEndAsync()).ShouldBe(new TestResult("", "", 4, true, "exit status 4", "exit status 4"));
        using var signal = await _sandbox.CallAsync("SendSignal", new SendSignalRequest { Process = new ProcessSelector { Pid = pid }, Signal = Signal.Sigkill });
        signal.StatusCode.ShouldBe(HttpStatusCode.NotFound);
        ListResponse.Parser.ParseFrom(await (await _sandbox.CallAsync("List", new ListRequest())).Content.ReadAsByteArrayAsync()).Processes.ShouldBeEmpty();
    }

    [Fact]
    public async Task List_shows_what_runs_and_tags_select()
    {
        var request = TestSandbox.Bash("sleep 1000");
        request.Tag = "mine";
        request.Process.Envs["A"] = "b";
        request.Process.Cwd = "/tmp";
        await using var stream = await _sandbox.StreamAsync("Start", request);
        var other = TestSandbox.Bash("sleep 1000");
        other.Tag = "other";
        await using var otherStream = await _sandbox.StreamAsync("Start", other);

        var list = ListResponse.Parser.ParseFrom(await (await _sandbox.CallAsync("List", new ListRequest())).Content.ReadAsByteArrayAsync());

        list.Processes.Single(p => p.Tag == "mine").ShouldBe(new ProcessInfo { Config = request.Process, Pid = stream.Pid, Tag = "mine" });
        using var signal = await _sandbox.CallAsync("SendSignal", new SendSignalRequest { Process = new ProcessSelector { Tag = "mine" }, Signal = Signal.Sigkill });
        signal.StatusCode.ShouldBe(HttpStatusCode.OK);
        (await stream.ReadToEndAsync()).Status.ShouldBe("signal: killed");
    }

    [Fact]
    public async Task A_deadline_kills_the_leader_and_ends_the_stream()
    {
        await using var stream = await _sandbox.StartAsync("sleep 1000", false, ("Connect-Timeout-Ms", "2000"));

        (await stream.NextAsync()).ShouldBeNull();

        stream.Error.ShouldBe(new ConnectError(ConnectCode.DeadlineExceeded, "context deadline exceeded"));
        await using var again = await _sandbox.StreamAsync("Connect", new ConnectRequest { Process = new ProcessSelector { Pid = stream.Pid } });
        (await again.ReadToEndAsync()).Status.ShouldBe("signal: killed");
    }

    [Fact]
    public async Task A_deadline_of_a_start_holds_after_its_client_has_left_and_that_of_a_connect_ends_the_stream_only()
    {
        var left = await _sandbox.StartAsync("sleep 1000", false, ("Connect-Timeout-Ms", "4000"));
        await left.DisposeAsync();
        await using var short_ = await _sandbox.StreamAsync("Connect", new ConnectRequest { Process = new ProcessSelector { Pid = left.Pid } }, ("Connect-Timeout-Ms", "100"));
        await using var long_ = await _sandbox.StreamAsync("Connect", new ConnectRequest { Process = new ProcessSelector { Pid = left.Pid } });

        (await short_.NextAsync()).ShouldBeNull();
        short_.Error!.Code.ShouldBe(ConnectCode.DeadlineExceeded);
        (await long_.ReadToEndAsync()).Status.ShouldBe("signal: killed");
    }

    [Theory]
    [InlineData("12345678901")]
    [InlineData("-1")]
    [InlineData("soon")]
    [InlineData("1.5")]
    public async Task A_deadline_that_is_no_number_is_an_invalid_argument(string value)
    {
        await using var stream = await _sandbox.StartAsync("sleep 1000", false, ("Connect-Timeout-Ms", value));

        stream.Error!.Code.ShouldBe(ConnectCode.InvalidArgument);
    }

    [Fact]
    public async Task A_deadline_of_zero_fails_the_stream_and_leaves_the_process_running()
    {
        await using var stream = await _sandbox.StartAsync("sleep 987", false, ("Connect-Timeout-Ms", "0"));

        stream.Error!.Code.ShouldBe(ConnectCode.DeadlineExceeded);
        (await _sandbox.RunAsync("pgrep -f 'sleep 987' | wc -l")).Stdout.Trim().ShouldNotBe("0");
    }

    [Fact]
    public async Task Silence_is_filled_with_keepalives_at_the_interval_asked_for()
    {
        await using var stream = await _sandbox.StartAsync("sleep 1000", false, ("Keepalive-Ping-Interval", "1"));
        var clock = Stopwatch.StartNew();

        (await stream.NextAsync())!.EventCase.ShouldBe(ProcessEvent.EventOneofCase.Keepalive);
        (await stream.NextAsync())!.EventCase.ShouldBe(ProcessEvent.EventOneofCase.Keepalive);

        clock.Elapsed.TotalSeconds.ShouldBeInRange(1.8, 10);
    }

    [Theory]
    [InlineData("0")]
    [InlineData("-5")]
    [InlineData("often")]
    public async Task A_senseless_keepalive_interval_harms_nobody(string value)
    {
        await using var stream = await _sandbox.StartAsync("sleep 0.3; echo fine", false, ("Keepalive-Ping-Interval", value));

        (await stream.ReadToEndAsync()).Stdout.ShouldBe("fine\n");
    }

    [Fact]
    public async Task Unknown_processes_users_and_selectors_have_their_codes()
    {
        using (var answer = await _sandbox.CallAsync("SendSignal", new SendSignalRequest { Process = new ProcessSelector { Pid = 9999 }, Signal = Signal.Sigkill }))
        {
            answer.StatusCode.ShouldBe(HttpStatusCode.NotFound);
            ConnectError.TryParse(await answer.Content.ReadAsByteArrayAsync()).ShouldBe(new ConnectError(ConnectCode.NotFound, "process with pid 9999 not found"));
        }

        using (var answer = await _sandbox.CallAsync("CloseStdin", new CloseStdinRequest()))
        {
            ((int)answer.StatusCode).ShouldBe(501);
        }

        await using (var stream = await _sandbox.StreamAsync("Connect", new ConnectRequest { Process = new ProcessSelector { Pid = 9999 } }))
        {
            stream.Error!.Code.ShouldBe(ConnectCode.NotFound);
        }

        foreach (var (user, ok) in ((string, bool)[])[("user", true), ("root", false), ("nobody", false)])
        {
            var basic = "Basic " + Convert.ToBase64String(Encoding.UTF8.GetBytes(user + ":"));
            await using var stream = await _sandbox.StartAsync("true", false, ("Authorization", basic));
            stream.Error?.Code.ShouldBe(ConnectCode.Unauthenticated);
            (stream.Error is null).ShouldBe(ok);
        }
    }

    [Fact]
    public async Task The_json_codec_speaks_proto3_json()
    {
        using var response = await PostJsonAsync("Start", """{"process":{"cmd":"/bin/bash","args":["-c","printf out; printf err >&2; exit 2"],"unknown":1},"stdin":false}""", "application/connect+json", enveloped: true);
        response.Content.Headers.ContentType!.MediaType.ShouldBe("application/connect+json");
        var body = new System.Buffers.ReadOnlySequence<byte>(await response.Content.ReadAsByteArrayAsync());
        var events = new List<string>();
        while (Envelope.TryRead(ref body, out _, out var payload))
        {
            events.Add(Encoding.UTF8.GetString(payload).Replace(" ", "", StringComparison.Ordinal));
        }

        events[0].ShouldMatch("""^\{"event":\{"start":\{"pid":\d+\}\}\}$""");
        events.ShouldContain("""{"event":{"data":{"stdout":"b3V0"}}}""");
        events.ShouldContain("""{"event":{"data":{"stderr":"ZXJy"}}}""");
        events[^2].ShouldBe("""{"event":{"end":{"exitCode":2,"exited":true,"status":"exitstatus2","error":"exitstatus2"}}}""");
        events[^1].ShouldBe("{}");

        using var list = await PostJsonAsync("List", "{}", "application/json");
        (await list.Content.ReadAsStringAsync()).Replace(" ", "", StringComparison.Ordinal).ShouldBe("{}");
        using var signal = await PostJsonAsync("SendSignal", """{"process":{"pid":9999},"signal":"SIGNAL_SIGKILL"}""", "application/json");
        signal.StatusCode.ShouldBe(HttpStatusCode.NotFound);
    }

    [Theory]
    [InlineData("List", "", "application/json", 400)]
    [InlineData("List", "{", "application/json", 400)]
    [InlineData("List", "[]", "application/json", 400)]
    [InlineData("List", "nonsense", "application/json", 400)]
    [InlineData("SendInput", """{"process":{"pid":-1}}""", "application/json", 400)]
    [InlineData("SendInput", """{"process":{"pid":1e99}}""", "application/json", 400)]
    [InlineData("SendInput", """{"process":5}""", "application/json", 400)]
    [InlineData("SendInput", """{"input":{"stdin":"%%%"}}""", "application/json", 400)]
    [InlineData("SendSignal", """{"process":{"pid":1},"signal":[]}""", "application/json", 400)]
    [InlineData("SendInput", "\u0001\u0002\u0003", "application/proto", 400)]
    [InlineData("List", "{}", "text/plain", 415)]
    [InlineData("List", "{}", "application/connect+json", 415)]
    [InlineData("Start", "{}", "application/json", 415)]
    [InlineData("Nonesuch", "{}", "application/json", 404)]
    public async Task Malformed_calls_are_the_callers_fault(string method, string body, string type, int status)
    {
        using var response = await PostJsonAsync(method, body, type);

        ((int)response.StatusCode).ShouldBe(status);
    }

    [Theory]
    [InlineData("")]
    [InlineData("0000")]
    [InlineData("0000000005")]
    [InlineData("00FFFFFFFF41")]
    [InlineData("01000000027B7D")]
    [InlineData("FF000000027B7D")]
    [InlineData("000000000178")]
    [InlineData("02000000027B7D")]
    public async Task Malformed_envelopes_end_the_stream_with_an_error(string hex)
    {
        foreach (var method in (string[])["Start", "Connect", "StreamInput"])
        {
            var content = new ByteArrayContent(Convert.FromHexString(hex));
            content.Headers.ContentType = new("application/connect+json");
            using var response = await _sandbox.SendAsync(HttpMethod.Post, "/process.Process/" + method, content);

            response.StatusCode.ShouldBe(HttpStatusCode.OK);
            var body = new System.Buffers.ReadOnlySequence<byte>(await response.Content.ReadAsByteArrayAsync());
            while (Envelope.TryRead(ref body, out var flags, out var payload))
            {
                if ((flags & Envelope.EndOfStream) != 0 && Envelope.ReadEnd(payload) is { } error)
                {
                    error.Code.ShouldBe(ConnectCode.InvalidArgument);
                }
            }
        }

        (await _sandbox.RunAsync("echo still here")).Stdout.ShouldBe("still here\n");
    }

    [Fact]
    public async Task A_flood_of_output_arrives_complete()
    {
        await using var stream = await _sandbox.StartAsync("seq 1 300000; seq 1 300000 >&2");

        var result = await stream.ReadToEndAsync();

        var expected = string.Concat(Enumerable.Range(1, 300_000).Select(i => i + "\n"));
        result.Stdout.ShouldBe(expected);
        result.Stderr.ShouldBe(expected);
    }

    private static async Task<(long Received, Task<ProcessEvent?> Next)> ReadForAsync(TestStream stream, TimeSpan quiet)
    {
        var received = 0L;
        while (true)
        {
            var next = stream.NextAsync();
            if (await Task.WhenAny(next, Task.Delay(quiet)) != next)
            {
                return (received, next);
            }

            received += (await next)!.Data.Stdout.Length;
        }
    }

    private static async Task WaitUntilAsync(Func<Task<bool>> condition)
    {
        var clock = Stopwatch.StartNew();
        while (!await condition())
        {
            clock.Elapsed.ShouldBeLessThan(TimeSpan.FromSeconds(20));
        }
    }

    private async Task<HttpResponseMessage> PostJsonAsync(string method, string json, string type, bool enveloped = false)
    {
        var bytes = Encoding.UTF8.GetBytes(json);
        if (enveloped)
        {
            var writer = new System.Buffers.ArrayBufferWriter<byte>();
            Envelope.WriteHeader(writer, 0, bytes.Length);
            bytes = [.. writer.WrittenSpan, .. bytes];
        }

        var content = new ByteArrayContent(bytes);
        content.Headers.ContentType = new(type);
        return await _sandbox.SendAsync(HttpMethod.Post, "/process.Process/" + method, content);
    }

    /// <summary>A request body that stays open until told; what is written goes out at once when flushed.</summary>
    private sealed class OpenContent : HttpContent
    {
        private readonly TaskCompletionSource<Stream> _body = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private readonly TaskCompletionSource _end = new(TaskCreationOptions.RunContinuationsAsynchronously);

        internal Task<Stream> Body => _body.Task;

        internal void End() => _end.SetResult();

        protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context)
        {
            _body.SetResult(stream);
            return _end.Task;
        }

        protected override bool TryComputeLength(out long length)
        {
            length = 0;
            return false;
        }
    }
}
