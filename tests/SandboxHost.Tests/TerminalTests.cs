using System.Net;
using Google.Protobuf;
using InterpreterKernel.Protocol.Envd;

namespace InterpreterKernel.SandboxHost.Tests;

/// <summary>Processes at a terminal, where E2B's SDK does not look (tests/Sdk/pty.test.mjs has the rest).</summary>
[Collection(SharedHostCollection.Name)]
public sealed class TerminalTests(SharedHost shared) : IAsyncLifetime
{
    private TestSandbox _sandbox = null!;

    public async Task InitializeAsync() => _sandbox = await shared.Client.CreateAsync();

    public async Task DisposeAsync() => await _sandbox.KillAsync();

    [Fact]
    public async Task The_program_leads_its_session_and_has_nothing_else_open()
    {
        const string program = "import os; print(os.getsid(0)==os.getpid(), os.tcgetpgrp(0)==os.getpid(), os.ttyname(0), len(os.listdir('/proc/self/fd')), os.get_terminal_size())";
        await using var stream = await StartAsync("python3", "-c", program);

        var (text, end) = await ReadAsync(stream);

        text.ShouldMatch(@"^True True /dev/pts/\d+ 4 os.terminal_size\(columns=90, lines=20\)\r\n$");
        (end.ExitCode, end.Exited).ShouldBe((0, true));
    }

    [Fact]
    public async Task Input_of_the_wrong_kind_is_refused_in_both_directions()
    {
        await using var terminal = await StartAsync("cat");
        await using var pipes = await _sandbox.StartAsync("cat", stdin: true);

        (await CodeAsync("SendInput", new SendInputRequest { Process = Pid(terminal), Input = new ProcessInput { Stdin = ByteString.CopyFromUtf8("x") } })).ShouldBe((500, "internal"));
        (await CodeAsync("SendInput", new SendInputRequest { Process = Pid(pipes), Input = new ProcessInput { Pty = ByteString.CopyFromUtf8("x") } })).ShouldBe((500, "internal"));
        (await CodeAsync("CloseStdin", new CloseStdinRequest { Process = Pid(terminal) })).ShouldBe((500, "unknown"));
        (await CodeAsync("Update", new UpdateRequest { Process = Pid(pipes), Pty = Size(1, 1) })).ShouldBe((500, "internal"));
        (await CodeAsync("Update", new UpdateRequest { Process = Pid(terminal), Pty = Size(uint.MaxValue, 0) })).ShouldBe((200, null));
    }

    [Fact]
    public async Task A_killed_terminal_ends_although_a_child_that_ignores_the_hangup_holds_it()
    {
        await using var stream = await StartAsync("/bin/bash", "-c", "trap '' HUP; sleep 1000 & echo ready; wait");
        await UntilAsync(stream, "ready");

        (await CodeAsync("SendSignal", new SendSignalRequest { Process = Pid(stream), Signal = Signal.Sigkill })).ShouldBe((200, null));

        (await ReadAsync(stream)).End.Status.ShouldBe("signal: killed");
        (await _sandbox.RunAsync("pgrep -c sleep")).Stdout.ShouldBe("1\n");
    }

    [Fact]
    public async Task Keys_arrive_while_nobody_takes_the_output()
    {
        await using var stream = await StartAsync("/bin/bash", "-c", "trap 'touch /tmp/interrupted; exit 3' INT; while :; do seq 1000; done");
        await UntilAsync(stream, "100");

        // Nothing is read from here on: all that lies between is full before long.
        await _sandbox.RunAsync("sleep 0.5");
        (await CodeAsync("SendInput", new SendInputRequest { Process = Pid(stream), Input = new ProcessInput { Pty = ByteString.CopyFrom(3) } })).ShouldBe((200, null));

        (await _sandbox.RunAsync("for i in $(seq 200); do pkill -INT seq; test -e /tmp/interrupted && exit 0; sleep 0.02; done; exit 0")).ExitCode.ShouldBe(0);
        (await ReadAsync(stream)).End.ExitCode.ShouldBe(3);
    }

    [Fact]
    public async Task No_room_for_a_process_is_said_and_leaves_no_terminal_behind()
    {
        await using var full = await _sandbox.StreamAsync("Start", new StartRequest
        {
            Process = new ProcessConfig
            {
                Cmd = "python3",
                Args = { "-c", "import os,time\ntry:\n while True:\n  if os.fork()==0:\n   time.sleep(1000); os._exit(0)\nexcept OSError: print('filled', flush=True)\ntime.sleep(1000)" },
            },
        });
        await full.ReadUntilAsync("filled");

        await using (var refused = await StartAsync("true"))
        {
            refused.Error!.Code.ShouldBe(InterpreterKernel.Protocol.Connect.ConnectCode.ResourceExhausted);
        }

        (await _sandbox.KillAsync()).ShouldBe(HttpStatusCode.NoContent);
    }

    private static ProcessSelector Pid(TestStream stream) => new() { Pid = stream.Pid };

    private static PTY Size(uint columns, uint rows) => new() { Size = new PTY.Types.Size { Cols = columns, Rows = rows } };

    private Task<TestStream> StartAsync(string command, params string[] arguments) =>
        _sandbox.StreamAsync("Start", new StartRequest { Process = new ProcessConfig { Cmd = command, Args = { arguments } }, Pty = Size(90, 20) });

    private async Task<(int Status, string? Code)> CodeAsync(string method, IMessage message)
    {
        using var response = await _sandbox.CallAsync(method, message);
        return ((int)response.StatusCode, response.IsSuccessStatusCode ? null : (await HostClient.JsonAsync(response)).GetProperty("code").GetString());
    }

    private static async Task UntilAsync(TestStream stream, string text)
    {
        var shown = "";
        while (!shown.Contains(text, StringComparison.Ordinal))
        {
            shown += (await stream.NextAsync()).ShouldNotBeNull(shown).Data?.Pty?.ToStringUtf8();
        }
    }

    private static async Task<(string Text, ProcessEvent.Types.EndEvent End)> ReadAsync(TestStream stream)
    {
        var text = new System.Text.StringBuilder();
        ProcessEvent.Types.EndEvent? end = null;
        while (await stream.NextAsync() is { } next)
        {
            text.Append(next.Data?.Pty?.ToStringUtf8());
            end = next.End ?? end;
        }

        return (text.ToString(), end.ShouldNotBeNull());
    }
}
