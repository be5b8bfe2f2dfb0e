using InterpreterKernel.SandboxHost.Http;
using Microsoft.AspNetCore.Http;

namespace InterpreterKernel.SandboxHost.Tests;

/// <summary>The setting that Kestrel keeps to itself is set: what is received and sent lies in large blocks.</summary>
public sealed class LargeBlocksTests
{
    [Fact]
    public async Task A_request_is_received_and_an_answer_written_in_blocks_of_64_KiB()
    {
        var directory = Directory.CreateTempSubdirectory("ik-host-").FullName;
        var options = new SandboxHostOptions { StateDirectory = directory, UnixSocket = Path.Combine(directory, "s") };
        int received = 0, writable = 0;
        await using (await HostServer.StartAsync(options, Handle, new TestLog(), CancellationToken.None))
        using (var client = TestHost.Connect(options.UnixSocket))
        {
            using var answer = await client.PostAsync(new Uri("/", UriKind.Relative), new ByteArrayContent(new byte[4 << 20]));
            (await answer.Content.ReadAsByteArrayAsync()).Length.ShouldBe(3);
        }

        Directory.Delete(directory, recursive: true);
        received.ShouldBeGreaterThan(8 * 1024);
        writable.ShouldBeGreaterThan(32 * 1024);

        async Task Handle(HttpContext context)
        {
            while (true)
            {
                var result = await context.Request.BodyReader.ReadAsync();
                foreach (var segment in result.Buffer)
                {
                    received = Math.Max(received, segment.Length);
                }

                context.Request.BodyReader.AdvanceTo(result.Buffer.End);
                if (result.IsCompleted)
                {
                    break;
                }
            }

            await context.Response.StartAsync();
            writable = context.Response.BodyWriter.GetMemory().Length;
            await context.Response.BodyWriter.WriteAsync("end"u8.ToArray());
        }
    }
}
