using Google.Protobuf;
using InterpreterKernel.Broker;
using InterpreterKernel.Kernel.Lifecycle;
using InterpreterKernel.Protocol.Envd;

namespace InterpreterKernel.Kernel.Remote;

/// <summary>
/// The first HTTP request of a process, and its first message to a sandbox, load what they need, and compile it where the program is not
/// native code. That takes as long as starting the kernel in a warm spare does, so it is done on a second thread while the sockets are bound
/// and the client connects. Nothing is claimed.
/// </summary>
internal static class Rehearsal
{
    /// <summary>Does it in the background.</summary>
    public static void Start(TimeProvider time, KernelLog log) => _ = Task.Run(() => RunAsync(time, log));

    private static async Task RunAsync(TimeProvider time, KernelLog log)
    {
        try
        {
            using var broker = new BrokerClient(RuntimeDirectory.Open(), time: time);
            var greeting = broker.GreetAsync();
            var start = new StartRequest { Process = new ProcessConfig { Cmd = RelayFile.Current.Path }, Stdin = true };
            StartRequest.Parser.ParseFrom(start.ToByteArray());
            await greeting.ConfigureAwait(false);
        }
        catch (Exception e)
        {
            // No broker runs yet, or it can't be reached: what fails here fails again, with a reader, when it is needed.
            log.Debug("Nothing rehearsed: " + e.Message);
        }
    }
}
