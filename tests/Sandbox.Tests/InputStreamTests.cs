using System.Buffers;
using System.Text;
using System.Threading.Channels;
using InterpreterKernel.Protocol.Connect;
using InterpreterKernel.Protocol.Envd;
using InterpreterKernel.Sandbox.Processes;
using InterpreterKernel.Sandbox.Tests.Support;
using Microsoft.AspNetCore.Http;

namespace InterpreterKernel.Sandbox.Tests;

public sealed class InputStreamTests
{
    private readonly Channel<StreamInputRequest> _arrived = Channel.CreateUnbounded<StreamInputRequest>();

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Each_write_arrives_at_once_while_the_request_stays_open(bool unixSocket)
    {
        await using var service = await ServiceAsync(unixSocket);
        await using var process = await service.Attach().Commands.ConnectAsync(42);

        await using (var input = await process.OpenInputAsync())
        {
            (await NextAsync()).Start.Process.Pid.ShouldBe(42u);
            for (var i = 0; i < 50; i++)
            {
                await input.WriteAsync(Encoding.ASCII.GetBytes($"message {i}"));
                (await NextAsync()).Data.Input.Stdin.ToStringUtf8().ShouldBe($"message {i}");
            }
        }

        (await _arrived.Reader.WaitToReadAsync()).ShouldBeFalse(); // the body has ended, properly
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(120)]
    [InlineData(127)]
    [InlineData(128)]
    [InlineData(16_380)]
    [InlineData(70_000)]
    [InlineData(1024 * 1024)]
    public void The_hand_written_envelope_is_what_the_protocol_says(int length)
    {
        var data = new byte[length];
        new Random(length).NextBytes(data);
        foreach (var terminal in new[] { false, true })
        {
            var buffer = new byte[InputEnvelope.MaxOverhead + length];
            var sequence = new ReadOnlySequence<byte>(buffer, 0, InputEnvelope.Write(buffer, data, terminal));
            Envelope.TryRead(ref sequence, out var flags, out var payload).ShouldBeTrue();
            flags.ShouldBe((byte)0);
            sequence.Length.ShouldBe(0);
            var input = StreamInputRequest.Parser.ParseFrom(payload.ToArray()).Data.Input;
            (terminal ? input.Pty : input.Stdin).Span.SequenceEqual(data).ShouldBeTrue();
        }
    }

    [Fact]
    public async Task A_large_write_goes_in_pieces_and_writers_do_not_mix()
    {
        await using var service = await ServiceAsync();
        await using var process = await service.Attach().Commands.ConnectAsync(42);
        await using var input = await process.OpenInputAsync();
        await NextAsync();

        var writers = Enumerable.Range(1, 4).Select(n => input.WriteAsync(Enumerable.Repeat((byte)n, (1024 * 1024) + 5).ToArray()).AsTask()).ToArray();
        for (var i = 0; i < 4; i++)
        {
            var first = (await NextAsync()).Data.Input.Stdin;
            var second = (await NextAsync()).Data.Input.Stdin;
            first.Length.ShouldBe(1024 * 1024);
            second.Length.ShouldBe(5);
            second[0].ShouldBe(first[0]);
        }

        await Task.WhenAll(writers);
    }

    [Fact]
    public async Task Silence_is_filled()
    {
        var time = new ManualTime();
        await using var service = await ServiceAsync();
        await using var process = await service.Attach(service.Connection with { TimeProvider = time }).Commands.ConnectAsync(42);
        await using var input = await process.OpenInputAsync();
        await NextAsync();
        await input.WriteAsync("x"u8.ToArray());
        (await NextAsync()).EventCase.ShouldBe(StreamInputRequest.EventOneofCase.Data);

        await time.WhenDueInAsync(TimeSpan.FromSeconds(20));
        time.Advance(TimeSpan.FromSeconds(20)); // something was written in this interval
        await time.WhenDueInAsync(TimeSpan.FromSeconds(20));
        time.Advance(TimeSpan.FromSeconds(20));
        (await NextAsync()).EventCase.ShouldBe(StreamInputRequest.EventOneofCase.Keepalive);
        await input.DisposeAsync();
    }

    [Fact]
    public async Task Completing_tells_what_the_service_says_at_the_end()
    {
        await using var service = await ServiceAsync(end: new ConnectError(ConnectCode.NotFound, "process with pid 42 not found"));
        await using var process = await service.Attach().Commands.ConnectAsync(42);
        await using var input = await process.OpenInputAsync();

        await input.WriteAsync("into the void"u8.ToArray());
        var fault = await Should.ThrowAsync<SandboxException>(() => input.CompleteAsync());
        fault.Reason.ShouldBe(SandboxFault.NotFound);
        await Should.ThrowAsync<ObjectDisposedException>(() => input.WriteAsync("more"u8.ToArray()).AsTask());
    }

    [Fact]
    public async Task When_the_request_breaks_later_writes_fail_with_the_reason()
    {
        await using var service = await FakeService.StartAsync();
        service.On("GET /health", 502, $$"""{"sandboxId":"{{FakeService.Id}}","message":"The sandbox was not found","code":502}""")
            .On("POST /process.Process/Connect", ConnectAsync)
            .OnRaw("POST /process.Process/StreamInput", async context =>
            {
                await context.Request.Body.ReadExactlyAsync(new byte[10]);
                context.Abort();
            });
        await using var process = await service.Attach().Commands.ConnectAsync(42);
        await using var input = await process.OpenInputAsync();

        var first = await Should.ThrowAsync<SandboxLostException>(async () =>
        {
            while (true)
            {
                await input.WriteAsync(new byte[1000]);
            }
        });
        var second = await Should.ThrowAsync<SandboxLostException>(() => input.WriteAsync(new byte[1]).AsTask());
        second.Message.ShouldBe(first.Message);
        await Should.ThrowAsync<SandboxLostException>(() => input.CompleteAsync());
    }

    [Fact]
    public async Task A_write_that_is_stuck_can_be_cancelled_and_ends_the_request()
    {
        using var cancel = new CancellationTokenSource();
        await using var service = await FakeService.StartAsync();
        var goOn = new TaskCompletionSource();
        var endedProperly = new TaskCompletionSource<bool>();
        service.On("POST /process.Process/Connect", ConnectAsync).OnRaw("POST /process.Process/StreamInput", async context =>
        {
            await goOn.Task; // as a daemon whose process does not read
            try
            {
                await context.Request.Body.CopyToAsync(Stream.Null);
                endedProperly.SetResult(true);
            }
            catch (Exception e) when (e is IOException or OperationCanceledException)
            {
                endedProperly.SetResult(false);
            }
        });
        await using var process = await service.Attach().Commands.ConnectAsync(42);
        await using var input = await process.OpenInputAsync();

        // Far more than the buffers on the way can hold, so this can't end by itself.
        var writing = input.WriteAsync(new byte[256 * 1024 * 1024], cancel.Token).AsTask();
        await cancel.CancelAsync();

        (await Should.ThrowAsync<OperationCanceledException>(() => writing)).CancellationToken.ShouldBe(cancel.Token);
        goOn.SetResult();
        (await endedProperly.Task.WaitAsync(TimeSpan.FromSeconds(10))).ShouldBeFalse();
        var later = await Should.ThrowAsync<SandboxException>(() => input.WriteAsync(new byte[1]).AsTask());
        later.Message.ShouldContain("cancelled half-way");
    }

    [Fact]
    public async Task Input_to_nobody_is_unreachable_at_once()
    {
        var gone = new EnvdClient(new SandboxConnection { SandboxUrl = new Uri("http://127.0.0.1:1") }, "x", null, "", null);

        var fault = await Should.ThrowAsync<SandboxException>(() => InputStream.OpenAsync(gone, 42, terminal: false, CancellationToken.None));
        fault.Reason.ShouldBe(SandboxFault.Unreachable);
    }

    [Fact]
    public async Task Single_inputs_are_sent_one_after_the_other_in_pieces()
    {
        await using var service = await ServiceAsync();
        var pieces = new List<int>();
        service.On("POST /process.Process/SendInput", context =>
        {
            pieces.Add(SendInputRequest.Parser.ParseFrom((byte[])context.Items["body"]!).Input.Stdin.Length);
            return Task.CompletedTask;
        });

        await service.Attach().Commands.SendInputAsync(42, new byte[150_000]);
        pieces.ShouldBe([65536, 65536, 18928]);
    }

    private static async Task ConnectAsync(HttpContext context)
    {
        await context.StreamAsync(Wire.Start());
        await context.StayOpenAsync();
    }

    private async Task<StreamInputRequest> NextAsync()
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(20));
        return await _arrived.Reader.ReadAsync(limit.Token);
    }

    // Reads the request body as it comes, envelope by envelope.
    private async Task<FakeService> ServiceAsync(bool unixSocket = false, ConnectError? end = null)
    {
        var service = await FakeService.StartAsync(unixSocket);
        return service.On("POST /process.Process/Connect", ConnectAsync).OnRaw("POST /process.Process/StreamInput", async context =>
        {
            var reader = context.Request.BodyReader;
            while (true)
            {
                var result = await reader.ReadAsync();
                var buffer = result.Buffer;
                while (Envelope.TryRead(ref buffer, out _, out var payload))
                {
                    _arrived.Writer.TryWrite(StreamInputRequest.Parser.ParseFrom(payload.ToArray()));
                }

                reader.AdvanceTo(buffer.Start, buffer.End);
                if (result.IsCompleted)
                {
                    break;
                }
            }

            _arrived.Writer.Complete();
            await context.StreamAsync(Wire.Enveloped([]), Wire.Closing(end));
        });
    }
}
