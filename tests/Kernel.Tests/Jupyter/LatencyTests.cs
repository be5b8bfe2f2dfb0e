using System.Diagnostics;
using System.Text;
using InterpreterKernel.Protocol.Jupyter;
using Xunit.Abstractions;

namespace InterpreterKernel.Kernel.Tests.Jupyter;

/// <summary>Figures for the log, with bounds so wide that only a timer or a lost wake-up on the hot path breaks them.</summary>
public sealed class LatencyTests(ITestOutputHelper output)
{
    [Fact]
    public async Task A_round_trip_has_no_timer_in_it()
    {
        await using var fixture = new SocketsFixture();
        var client = fixture.Client();
        var request = JupyterTestClient.Message("execute_request", """{"code":"1+1","silent":false}""");

        Report("echo from the socket thread", 3_000, () => client.Ask(JupyterChannel.Shell, request)).ShouldBeLessThan(20_000);

        fixture.OnMessage = (channel, message) => ThreadPool.QueueUserWorkItem(_ => fixture.Sockets.Send(channel, SocketsFixture.ReplyTo(message)));
        Report("echo from another thread", 3_000, () => client.Ask(JupyterChannel.Shell, request)).ShouldBeLessThan(20_000);
    }

    [Fact]
    public void Signing_and_verifying_take_microseconds()
    {
        using var signer = new MessageSigner(SignatureScheme.HmacSha256, "a0436f6c-1916-498b-8eb9-e81ab9368e84");
        var message = JupyterTestClient.Message("execute_request", """{"code":"1+1","silent":false}""");
        var signature = signer.Sign(message);

        Report("sign", 20_000, () => signer.Sign(message)).ShouldBeLessThan(1_000);
        Report("verify", 20_000, () => signer.Verify(message, signature)).ShouldBeLessThan(1_000);

        var large = new JupyterMessage { Header = message.Header, Content = Encoding.UTF8.GetBytes(new string('x', 10_000_000)) };
        Report("sign 10 MB", 5, () => signer.Sign(large));
    }

    // In microseconds, what the best twentieth needs: a busy machine makes the others slow, a timer makes all of them slow.
    private double Report(string what, int times, Action action)
    {
        for (var i = 0; i < times / 3; i++)
        {
            action();
        }

        var ticks = new long[times];
        var allocated = GC.GetTotalAllocatedBytes(precise: true);
        for (var i = 0; i < times; i++)
        {
            var start = Stopwatch.GetTimestamp();
            action();
            ticks[i] = Stopwatch.GetTimestamp() - start;
        }

        allocated = GC.GetTotalAllocatedBytes(precise: true) - allocated;
        Array.Sort(ticks);
        double Microseconds(int rank) => Stopwatch.GetElapsedTime(0, ticks[rank]).TotalMicroseconds;
        output.WriteLine($"{what}: median {Microseconds(times / 2):0.0} us, p99 {Microseconds(times * 99 / 100):0.0} us, {allocated / times} bytes allocated");
        return Microseconds(times / 20);
    }
}
