using System.Diagnostics;
using InterpreterKernel.Protocol.Envd;
using InterpreterKernel.Sandbox.Tests.Support;
using Xunit.Abstractions;

namespace InterpreterKernel.Sandbox.Tests;

public sealed class ProcessStreamTests(ITestOutputHelper log)
{
    private static readonly ProcessStart s_anything = new("/bin/cat", []);

    [Fact]
    public async Task A_start_request_says_what_to_run_and_never_sends_a_zero_header()
    {
        StartRequest? request = null;
        await using var service = await FakeService.StartAsync();
        service.On("POST /process.Process/Start", context =>
        {
            request = context.Message(StartRequest.Parser);
            return context.StreamAsync(Wire.Start(7), Wire.Ended(0), Wire.EndOfStream);
        });
        var commands = service.Attach(service.Connection with { KeepaliveInterval = TimeSpan.Zero }).Commands;

        await using var process = await commands.StartAsync(new ProcessStart("python3", ["-c", "1"])
        {
            Envs = new Dictionary<string, string> { ["A"] = "1" },
            Cwd = "/tmp",
            Stdin = false,
            Tag = "t",
            User = "root",
            Timeout = TimeSpan.Zero,
        });

        process.Pid.ShouldBe(7u);
        request!.Process.ShouldBe(new ProcessConfig { Cmd = "python3", Args = { "-c", "1" }, Envs = { ["A"] = "1" }, Cwd = "/tmp" });
        request.Stdin.ShouldBeFalse();
        request.HasStdin.ShouldBeTrue();
        request.Tag.ShouldBe("t");
        var headers = service.Requests.Single().Headers;
        headers["Keepalive-Ping-Interval"].ShouldBe("1");
        headers.ContainsKey("Connect-Timeout-Ms").ShouldBeFalse();
        headers["Content-Type"].ShouldBe("application/connect+proto");
        headers["Connect-Protocol-Version"].ShouldBe("1");
        headers["Authorization"].ShouldBe("Basic " + Convert.ToBase64String("root:"u8));
        headers["E2b-Sandbox-Id"].ShouldBe(FakeService.Id);
        headers["X-Access-Token"].ShouldBe(FakeService.Token);
    }

    [Fact]
    public async Task A_time_limit_for_the_process_goes_along_rounded_up()
    {
        await using var service = await FakeService.StartAsync();
        service.On("POST /process.Process/Start", c => c.StreamAsync(Wire.Start(), Wire.Ended(0), Wire.EndOfStream));
        var commands = service.Attach().Commands;

        await using var shortest = await commands.StartAsync(s_anything with { Timeout = TimeSpan.FromTicks(1) });
        await using var longest = await commands.StartAsync(s_anything with { Timeout = TimeSpan.MaxValue });

        service.Requests.Select(r => r.Headers["Connect-Timeout-Ms"]).ShouldBe(["1", "9999999999"]);
        service.Requests.Last().Headers["Keepalive-Ping-Interval"].ShouldBe("20");
    }

    [Fact]
    public async Task Output_arrives_whole_however_the_bytes_are_cut()
    {
        var all = new MemoryStream();
        all.Write(Wire.Start());
        all.Write(Wire.Stdout("grüße"u8));
        all.Write(Wire.Keepalive);
        all.Write(Wire.Stderr("oh"u8));
        all.Write(Wire.Stdout(new byte[300]));
        all.Write(Wire.Ended(3));
        all.Write(Wire.EndOfStream);
        var bytes = all.ToArray();
        await using var service = await FakeService.StartAsync();

        // Each single byte in its own HTTP chunk; then cut once, at every place.
        for (var cut = -1; cut < bytes.Length; cut++)
        {
            var at = cut;
            service.On("POST /process.Process/Start", c => at < 0
                ? c.StreamAsync([.. bytes.Select(b => new[] { b })])
                : c.StreamAsync(bytes[..at], bytes[at..]));
            await using var process = await service.Attach().Commands.StartAsync(s_anything);
            var read = await ReadAsync(process);
            read.Stdout.ShouldBe([.. "grüße"u8, .. new byte[300]]);
            read.Stderr.ShouldBe([.. "oh"u8]);
            read.Ended.ShouldBe(new ProcessOutput.Ended(3, true, "exit status 3", null));
            process.Result.ShouldBe(read.Ended);
            (await process.ReadAsync().ToListAsync()).ShouldBeEmpty();
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    public async Task A_stream_that_ends_without_its_end_is_unreachable_and_no_success(int bytesOfNext)
    {
        await using var service = await FakeService.StartAsync();
        service.On("GET /health", 204).On("POST /process.Process/Start", c => c.StreamAsync(Wire.Start(), Wire.Stdout("x"u8), Wire.EndOfStream[..bytesOfNext]));

        await using var process = await service.Attach().Commands.StartAsync(s_anything);
        var fault = await Should.ThrowAsync<SandboxException>(() => process.WaitAsync());
        fault.Reason.ShouldBe(SandboxFault.Unreachable);
        fault.Message.ShouldContain("may still run");
    }

    [Fact]
    public async Task A_stream_that_is_reset_because_the_sandbox_was_killed_is_a_lost_sandbox()
    {
        var started = new TaskCompletionSource();
        await using var service = await FakeService.StartAsync();
        service.On("GET /health", 502, $$"""{"sandboxId":"{{FakeService.Id}}","message":"The sandbox was not found","code":502}""")
            .On("POST /process.Process/Start", async context =>
            {
                await context.StreamAsync(Wire.Start());
                await started.Task;
                context.Abort();
            });

        await using var process = await service.Attach().Commands.StartAsync(s_anything);
        started.SetResult();
        (await Should.ThrowAsync<SandboxLostException>(() => process.WaitAsync())).SandboxId.ShouldBe(FakeService.Id);
    }

    [Fact]
    public async Task A_stream_that_ends_well_but_without_an_exit_code_is_a_fault_of_the_protocol()
    {
        await using var service = await FakeService.StartAsync();
        service.On("POST /process.Process/Start", c => c.StreamAsync(Wire.Start(), Wire.EndOfStream));

        await using var process = await service.Attach().Commands.StartAsync(s_anything);
        (await Should.ThrowAsync<SandboxException>(() => process.WaitAsync())).Reason.ShouldBe(SandboxFault.Protocol);
    }

    [Theory]
    [InlineData("01 00000000")] // compressed
    [InlineData("40 00000000")] // unknown flag
    [InlineData("00 ffffffff")] // 4 GiB
    [InlineData("00 01000001")] // over the limit
    [InlineData("00 00000002 ffff")] // no message
    [InlineData("00 00000003 0a7f00")] // a length that leads out of the message
    [InlineData("02 00000002 5b5d")] // an end that is no object
    [InlineData("48545450 2f312e31")] // no envelope at all
    public async Task Bytes_that_are_no_stream_end_it_with_a_fault_of_the_protocol(string hex)
    {
        var junk = Convert.FromHexString(hex.Replace(" ", "", StringComparison.Ordinal));
        await using var service = await FakeService.StartAsync();
        service.On("GET /health", 204).On("POST /process.Process/Start", async context =>
        {
            await context.StreamAsync(Wire.Start(), junk);
            await context.StayOpenAsync();
        });

        await using var process = await service.Attach().Commands.StartAsync(s_anything);
        (await Should.ThrowAsync<SandboxException>(() => process.WaitAsync())).Reason.ShouldBe(SandboxFault.Protocol);
    }

    [Fact]
    public async Task Anything_but_a_stream_is_a_fault_of_the_protocol()
    {
        await using var service = await FakeService.StartAsync();
        service.On("POST /process.Process/Start", 200, "{}");
        (await Should.ThrowAsync<SandboxException>(() => service.Attach().Commands.StartAsync(s_anything))).Reason.ShouldBe(SandboxFault.Protocol);

        service.On("POST /process.Process/Start", c => c.StreamAsync(Wire.Stdout("early"u8)));
        (await Should.ThrowAsync<SandboxException>(() => service.Attach().Commands.StartAsync(s_anything))).Reason.ShouldBe(SandboxFault.Protocol);
    }

    [Fact]
    public async Task Silence_of_two_and_a_half_intervals_is_a_dead_stream_and_a_keepalive_is_no_silence()
    {
        var time = new ManualTime();
        var more = new SemaphoreSlim(0);
        await using var service = await FakeService.StartAsync();
        service.On("POST /process.Process/Start", async context =>
        {
            await context.StreamAsync(Wire.Start());
            await more.WaitAsync(context.RequestAborted);
            await context.StreamAsync(Wire.Keepalive);
            await context.StayOpenAsync();
        });
        await using var process = await service.Attach(service.Connection with { TimeProvider = time }).Commands.StartAsync(s_anything);

        var reading = process.WaitAsync();
        await time.WhenDueInAsync(TimeSpan.FromSeconds(50));
        time.Advance(TimeSpan.FromSeconds(49));
        more.Release();
        await time.WhenDueInAsync(TimeSpan.FromSeconds(50)); // counted anew, from the keepalive on
        time.Advance(TimeSpan.FromSeconds(49));
        reading.IsCompleted.ShouldBeFalse();
        time.Advance(TimeSpan.FromSeconds(1));

        var fault = await Should.ThrowAsync<SandboxException>(() => reading);
        fault.Reason.ShouldBe(SandboxFault.Unreachable);
        fault.Message.ShouldContain("silent for 50 s");
    }

    [Fact]
    public async Task Disposing_closes_the_connection_and_a_reader_is_told()
    {
        var left = new TaskCompletionSource();
        await using var service = await FakeService.StartAsync();
        service.On("POST /process.Process/Start", async context =>
        {
            await context.StreamAsync(Wire.Start());
            await context.StayOpenAsync();
            left.SetResult();
        });
        var process = await service.Attach().Commands.StartAsync(s_anything);

        var reading = process.WaitAsync();
        await process.DisposeAsync();
        await left.Task.WaitAsync(TimeSpan.FromSeconds(10));
        await Should.ThrowAsync<ObjectDisposedException>(() => reading);
    }

    [Fact]
    public async Task Cancelling_a_reader_is_a_cancellation_and_closes_the_connection()
    {
        using var cancel = new CancellationTokenSource();
        var left = new TaskCompletionSource();
        await using var service = await FakeService.StartAsync();
        service.On("POST /process.Process/Connect", async context =>
        {
            await context.StreamAsync(Wire.Start());
            await context.StayOpenAsync();
            left.SetResult();
        });
        await using var process = await service.Attach().Commands.ConnectAsync(42);

        var reading = process.WaitAsync(cancel.Token);
        await cancel.CancelAsync();
        (await Should.ThrowAsync<OperationCanceledException>(() => reading)).CancellationToken.ShouldBe(cancel.Token);
        await left.Task.WaitAsync(TimeSpan.FromSeconds(10));
    }

    [Fact]
    public async Task A_second_reader_is_refused()
    {
        await using var service = await FakeService.StartAsync();
        service.On("POST /process.Process/Start", async context =>
        {
            await context.StreamAsync(Wire.Start());
            await context.StayOpenAsync();
        });
        await using var process = await service.Attach().Commands.StartAsync(s_anything);

        var reading = process.WaitAsync();
        await Should.ThrowAsync<InvalidOperationException>(() => process.WaitAsync());
        reading.IsCompleted.ShouldBeFalse();
        await process.DisposeAsync();
        await Should.ThrowAsync<ObjectDisposedException>(() => reading);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Two_hundred_MiB_arrive_whole_and_fast(bool unixSocket)
    {
        const int Piece = 32 * 1024;
        const int Pieces = 200 * 1024 * 1024 / Piece;
        var data = new byte[Piece];
        Random.Shared.NextBytes(data);
        var envelope = Wire.Stdout(data);
        await using var service = await FakeService.StartAsync(unixSocket);
        service.On("POST /process.Process/Start", async context =>
        {
            await context.StreamAsync(Wire.Start());
            for (var i = 0; i < Pieces; i++)
            {
                await context.Response.Body.WriteAsync(envelope);
            }

            await context.StreamAsync(Wire.Ended(0), Wire.EndOfStream);
        });
        await using var process = await service.Attach().Commands.StartAsync(s_anything);

        var watch = Stopwatch.StartNew();
        var allocated = GC.GetAllocatedBytesForCurrentThread();
        long total = 0;
        await foreach (var output in process.ReadAsync())
        {
            if (output is ProcessOutput.Stdout(var bytes))
            {
                total += bytes.Length;
                bytes.Span.SequenceEqual(data).ShouldBeTrue();
            }
        }

        total.ShouldBe(Piece * (long)Pieces);
        log.WriteLine($"{(unixSocket ? "unix" : "tcp")}: {200 / watch.Elapsed.TotalSeconds:0} MiB/s; {(GC.GetAllocatedBytesForCurrentThread() - allocated) / Pieces} bytes allocated an event on the last thread");
    }

    private static async Task<(byte[] Stdout, byte[] Stderr, ProcessOutput.Ended? Ended)> ReadAsync(SandboxProcess process)
    {
        using var stdout = new MemoryStream();
        using var stderr = new MemoryStream();
        ProcessOutput.Ended? ended = null;
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
                case ProcessOutput.Ended e:
                    ended = e;
                    break;
            }
        }

        return (stdout.ToArray(), stderr.ToArray(), ended);
    }
}
