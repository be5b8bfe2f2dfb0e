using System.Runtime.InteropServices;
using System.Runtime.Versioning;
using InterpreterKernel.Protocol.ZeroMq;

namespace InterpreterKernel.Protocol.Tests.ZeroMq;

[SupportedOSPlatform("linux")]
public sealed partial class ZeroMqPollerTests
{
    private const int WindowChanged = 28; // SIGWINCH

    [Fact]
    public void A_wait_that_a_signal_ends_says_of_nothing_that_it_is_ready()
    {
        using var handler = PosixSignalRegistration.Create(PosixSignal.SIGWINCH, _ => { });
        using var wake = new WakeSignal();
        var poller = new ZeroMqPoller();
        var index = poller.Add(wake.Descriptor);
        wake.Raise();
        poller.Wait(-1).ShouldBeTrue();
        poller.IsReady(index).ShouldBeTrue();
        wake.Clear();

        var (ready, thread) = (true, 0);
        var waiting = new Thread(() =>
        {
            Volatile.Write(ref thread, ThreadId());
            ready = poller.Wait(-1);
        });
        waiting.Start();
        var sent = 0;
        do
        {
            // Not yet to a thread that has not said its number; nor does one signal do that comes just before the wait.
            sent += SignalThread(Environment.ProcessId, Volatile.Read(ref thread), WindowChanged) == 0 ? 1 : 0;
        }
        while (!waiting.Join(5));

        sent.ShouldBeGreaterThan(0);

        ready.ShouldBeFalse();
        poller.IsReady(index).ShouldBeFalse();
    }

    [LibraryImport("libc", EntryPoint = "gettid")]
    private static partial int ThreadId();

    [LibraryImport("libc", EntryPoint = "tgkill")]
    private static partial int SignalThread(int process, int thread, int signal);
}
