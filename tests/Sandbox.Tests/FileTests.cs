using InterpreterKernel.Sandbox.Tests.Support;
using Microsoft.AspNetCore.Http;

namespace InterpreterKernel.Sandbox.Tests;

public sealed class FileTests
{
    private const string Written = """[{"name":"f","path":"/tmp/f","type":"file"}]""";

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Files_are_written_and_read(bool unixSocket)
    {
        byte[]? stored = null;
        await using var service = await FakeService.StartAsync(unixSocket);
        service.On("POST /files", context =>
        {
            stored = (byte[])context.Items["body"]!;
            return context.Response.WriteAsync(Written);
        }).On("GET /files", context => context.Response.Body.WriteAsync(stored!).AsTask());
        var files = service.Attach().Files;
        var data = new byte[300_000];
        Random.Shared.NextBytes(data);

        await files.WriteAsync("/tmp/a b/ü&?.txt", data, "user");
        (await files.ReadAsync("/tmp/a b/ü&?.txt")).AsSpan().SequenceEqual(data).ShouldBeTrue();

        var source = new MemoryStream(data);
        source.Position = 7;
        await files.WriteAsync("x", source);
        await using (var stream = await files.ReadStreamAsync("x"))
        {
            var copy = new MemoryStream();
            await stream.CopyToAsync(copy);
            copy.ToArray().AsSpan().SequenceEqual(data.AsSpan(7)).ShouldBeTrue();
        }

        source.CanRead.ShouldBeTrue(); // still the caller's
        await files.WriteTextAsync("x", "");
        (await files.ReadTextAsync("x")).ShouldBe("");

        var first = service.Requests.First();
        first.Target.ShouldBe("/files?path=%2Ftmp%2Fa%20b%2F%C3%BC%26%3F.txt&username=user");
        first.Headers["Content-Type"].ShouldBe("application/octet-stream");
        first.Headers["X-Access-Token"].ShouldBe(FakeService.Token);
        service.Requests.ElementAt(1).Target.ShouldNotContain("username");
    }

    [Fact]
    public async Task Daemons_that_know_only_forms_get_a_form()
    {
        string? content = null;
        await using var service = await FakeService.StartAsync();
        service.On("POST /v2/sandboxes", 201, Wire.Created().Replace("0.6.13", "0.3.9", StringComparison.Ordinal)).OnRaw("POST /files", async context =>
        {
            var file = (await context.Request.ReadFormAsync()).Files.Single();
            file.Name.ShouldBe("file");
            using var reader = new StreamReader(file.OpenReadStream());
            content = $"{context.Request.Query["path"]} {context.Request.Query["username"]} {await reader.ReadToEndAsync()}";
            await context.Response.WriteAsync(Written);
        });
        var sandbox = await Sandbox.CreateAsync(new SandboxOptions(), service.Connection);
        sandbox.Detach();

        await sandbox.Files.WriteTextAsync("/tmp/f", "hello");
        content.ShouldBe("/tmp/f user hello");
    }

    [Fact]
    public async Task A_missing_file_is_not_found_and_a_full_disk_is_out_of_space()
    {
        await using var service = await FakeService.StartAsync();
        service.On("GET /files", 404, """{"code":404,"message":"path '/x' does not exist"}""").On("POST /files", 507, """{"code":507,"message":"full"}""");
        var files = service.Attach().Files;

        (await Should.ThrowAsync<SandboxException>(() => files.ReadAsync("/x"))).Reason.ShouldBe(SandboxFault.NotFound);
        (await Should.ThrowAsync<SandboxException>(() => files.ReadStreamAsync("/x"))).Reason.ShouldBe(SandboxFault.NotFound);
        (await Should.ThrowAsync<SandboxException>(() => files.WriteTextAsync("/x", "y"))).Reason.ShouldBe(SandboxFault.OutOfSpace);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_file_that_is_too_long_is_not_read_into_memory(bool tellsLength)
    {
        await using var service = await FakeService.StartAsync();
        service.On("GET /files", async context =>
        {
            context.Response.ContentLength = tellsLength ? 1000 : null;
            await context.Response.Body.WriteAsync(new byte[1000]);
        });

        var fault = await Should.ThrowAsync<SandboxException>(() => service.Attach().Files.ReadAsync("/x", maxBytes: 999));
        fault.Reason.ShouldBe(SandboxFault.InvalidRequest);
        (await service.Attach().Files.ReadAsync("/x", maxBytes: 1000)).Length.ShouldBe(1000);
    }

    [Fact]
    public async Task A_slow_file_may_take_longer_than_the_request_timeout_but_not_pause_as_long()
    {
        var time = new ManualTime();
        var more = new SemaphoreSlim(0);
        await using var service = await FakeService.StartAsync();
        service.On("GET /files", async context =>
        {
            while (!context.RequestAborted.IsCancellationRequested)
            {
                await context.Response.Body.WriteAsync(new byte[10]);
                await context.Response.Body.FlushAsync();
                await more.WaitAsync(context.RequestAborted);
            }
        });
        var reading = service.Attach(service.Connection with { TimeProvider = time }).Files.ReadAsync("/x");

        for (var i = 0; i < 3; i++)
        {
            time.Advance(TimeSpan.FromSeconds(40));
            var next = time.WhenDueInAsync(TimeSpan.FromSeconds(60));
            more.Release();
            await next;
        }

        time.Advance(TimeSpan.FromSeconds(60));
        await Should.ThrowAsync<SandboxRequestTimeoutException>(() => reading);
    }

    [Fact]
    public async Task A_stream_that_stops_coming_is_a_request_timeout()
    {
        var time = new ManualTime();
        await using var service = await FakeService.StartAsync();
        service.On("GET /files", async context =>
        {
            await context.Response.Body.WriteAsync(new byte[10]);
            await context.Response.Body.FlushAsync();
            await context.StayOpenAsync();
        });
        await using var stream = await service.Attach(service.Connection with { TimeProvider = time }).Files.ReadStreamAsync("/x");
        await stream.ReadExactlyAsync(new byte[10]);

        var reading = stream.ReadAsync(new byte[10]).AsTask();
        await time.WhenDueInAsync(TimeSpan.FromSeconds(60));
        time.Advance(TimeSpan.FromSeconds(60));
        await Should.ThrowAsync<SandboxRequestTimeoutException>(() => reading);
    }

    [Fact]
    public async Task A_source_that_fails_is_no_fault_of_the_sandbox_and_the_write_is_not_completed()
    {
        var whole = new TaskCompletionSource<bool>();
        await using var service = await FakeService.StartAsync();
        service.OnRaw("POST /files", async context =>
        {
            try
            {
                await context.Request.Body.CopyToAsync(Stream.Null);
                whole.SetResult(true);
            }
            catch (Exception e) when (e is IOException or OperationCanceledException)
            {
                whole.SetResult(false);
            }
        });

        var fault = await Should.ThrowAsync<IOException>(() => service.Attach().Files.WriteAsync("/x", new FailingStream()));
        fault.InnerException!.Message.ShouldBe("the source failed");
        (await whole.Task).ShouldBeFalse();
    }

    private sealed class FailingStream : MemoryStream
    {
        private int _given;

        public override bool CanSeek => false;

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            await Task.Yield();
            if (_given++ == 20)
            {
                throw new IOException("the source failed");
            }

            return buffer.Length;
        }
    }
}
