using System.Globalization;
using Microsoft.Win32.SafeHandles;

namespace InterpreterKernel.Broker;

/// <summary>
/// How a broker tells the process that launched it that it serves: a line into an inherited pipe. The pipe closes by
/// itself when the broker dies first, so that the launcher never waits for a dead one.
/// </summary>
internal sealed class LaunchSignal
{
    /// <summary>Names the pipe's descriptor.</summary>
    public const string Variable = "INTERPRETER_KERNEL_LAUNCH_FD";

    /// <summary>What is written.</summary>
    public const string ReadyLine = "ready";

    private readonly int _descriptor;

    private LaunchSignal(int descriptor) => _descriptor = descriptor;

    /// <summary>Null when nobody waits. Neither the variable nor the pipe is passed on to processes of ours.</summary>
    public static LaunchSignal? FromEnvironment()
    {
        var text = Environment.GetEnvironmentVariable(Variable);
        Environment.SetEnvironmentVariable(Variable, null);
        if (!int.TryParse(text, CultureInfo.InvariantCulture, out var descriptor) || descriptor < 3)
        {
            return null;
        }

        Posix.CloseWhenExecuting(descriptor);
        return new LaunchSignal(descriptor);
    }

    /// <summary>Tells it and closes the pipe.</summary>
    public void Ready()
    {
        using var handle = new SafeFileHandle(_descriptor, ownsHandle: true);
        try
        {
            using var pipe = new FileStream(handle, FileAccess.Write, bufferSize: 0);
            pipe.Write("ready\n"u8);
        }
        catch (Exception e) when (e is IOException or ArgumentException or UnauthorizedAccessException)
        {
            // Whoever waited is gone. That is its business; the broker serves the others.
            Console.Error.WriteLine($"The process that launched this broker went away ({e.Message}).");
        }
    }
}
