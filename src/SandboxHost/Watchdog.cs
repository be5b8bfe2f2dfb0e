using InterpreterKernel.SandboxHost.Native;

namespace InterpreterKernel.SandboxHost;

/// <summary>
/// A shell that waits on a pipe of this process. When the process dies without a word, however it dies, the shell runs
/// the sweep command; on an orderly end it is told so and leaves.
/// </summary>
internal sealed class Watchdog : IAsyncDisposable
{
    private const string Script = "if read -r word; then exit 0; fi; exec \"$@\" >/dev/null 2>&1 </dev/null";

    private readonly PolledDescriptor _pipe;
    private readonly Poller _poller;
    private readonly int _pid;

    private Watchdog(PolledDescriptor pipe, Poller poller, int pid)
    {
        _pipe = pipe;
        _poller = poller;
        _pid = pid;
    }

    internal static Watchdog Start(IReadOnlyList<string> command, Poller poller)
    {
        using var pipe = PipePair.Create(owner: null);
        using var nothing = File.OpenHandle("/dev/null", FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);

        // Its own session: what is sent to our process group (Ctrl-C, a supervisor's kill) must not hit it as well.
        var environment = Environment.GetEnvironmentVariables().Cast<System.Collections.DictionaryEntry>().Select(e => $"{e.Key}={e.Value}");
        var pid = NativeProcess.Start("/bin/sh", ["-c", Script, "sh", .. command], [.. environment], [pipe.Read, nothing, nothing], ownSession: true);
        return new Watchdog(new PolledDescriptor(poller, pipe.TakeWrite(), forWriting: true), poller, pid);
    }

    public async ValueTask DisposeAsync()
    {
        try
        {
            await _pipe.WriteAsync("done\n"u8.ToArray());
        }
        catch (IOException)
        {
            // Somebody killed the shell; there is nobody to tell.
        }

        _pipe.Dispose();
        await NativeProcess.WaitAsync(_poller, _pid);
    }
}
