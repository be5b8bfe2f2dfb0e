using System.Runtime.InteropServices;

namespace InterpreterKernel.Kernel.Lifecycle;

/// <summary>
/// What reaches the kernel other than by its sockets: SIGINT and byte 0x03 on stdin (interrupts, jupyter-wire.md section 4.5),
/// SIGTERM, SIGHUP and SIGQUIT (the end). Without it the runtime would end the process at the first of them.
/// </summary>
internal sealed class OutsideEvents : IDisposable
{
    private readonly List<PosixSignalRegistration> _signals = [];

    private OutsideEvents()
    {
    }

    /// <summary>Starts to listen.</summary>
    /// <param name="interrupt">Called for each interrupt, on any thread.</param>
    /// <param name="terminate">Called with the signal that asks for the end, on any thread.</param>
    public static OutsideEvents Listen(Action interrupt, Action<PosixSignal> terminate)
    {
        var events = new OutsideEvents();
        events.On(PosixSignal.SIGINT, _ => interrupt());
        foreach (var signal in new[] { PosixSignal.SIGTERM, PosixSignal.SIGHUP, PosixSignal.SIGQUIT })
        {
            events.On(signal, terminate);
        }

        new Thread(() => ReadStdin(interrupt), 128 * 1024) { IsBackground = true, Name = "stdin" }.Start();
        return events;
    }

    /// <inheritdoc/>
    public void Dispose() => _signals.ForEach(s => s.Dispose());

    private void On(PosixSignal signal, Action<PosixSignal> then) =>
        _signals.Add(PosixSignalRegistration.Create(signal, context =>
        {
            context.Cancel = true;
            then(context.Signal);
        }));

    private static void ReadStdin(Action interrupt)
    {
        try
        {
            using var stdin = Console.OpenStandardInput();
            var buffer = new byte[64];
            int read;

            // The end of stdin says nothing: most launchers close it at once.
            while ((read = stdin.Read(buffer)) > 0)
            {
                if (buffer.AsSpan(0, read).Contains((byte)0x03))
                {
                    interrupt();
                }
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ObjectDisposedException)
        {
            // No stdin to read: one source of interrupts less, the others remain.
        }
    }
}
