using System.Buffers;

namespace InterpreterKernel.SandboxHost.Sandboxes;

/// <summary>Which of a process's outputs a piece came from.</summary>
internal enum OutputKind
{
    Stdout,
    Stderr,
    Pty,
}

/// <summary>A piece of output. Whoever takes a piece returns its buffer with <see cref="Release"/>.</summary>
internal readonly record struct ProcessOutput(OutputKind Kind, byte[]? Buffer, int Length)
{
    internal ReadOnlyMemory<byte> Data => Buffer.AsMemory(0, Length);

    internal static ProcessOutput Copy(OutputKind kind, ReadOnlySpan<byte> data)
    {
        var buffer = ArrayPool<byte>.Shared.Rent(data.Length);
        data.CopyTo(buffer);
        return new ProcessOutput(kind, buffer, data.Length);
    }

    internal void Release()
    {
        if (Buffer is not null)
        {
            ArrayPool<byte>.Shared.Return(Buffer);
        }
    }
}

/// <summary>How a process ended, in the words of Go's os.ProcessState, which envd passes on.</summary>
/// <param name="ExitCode">The exit code; -1 after a signal.</param>
/// <param name="Exited">False when a signal ended it.</param>
/// <param name="Status"><c>exit status N</c> or <c>signal: NAME</c>.</param>
internal sealed record ProcessEnd(int ExitCode, bool Exited, string Status)
{
    private static readonly string[] s_signals =
    [
        "signal 0", "hangup", "interrupt", "quit", "illegal instruction", "trace/breakpoint trap", "aborted", "bus error",
        "floating point exception", "killed", "user defined signal 1", "segmentation fault", "user defined signal 2", "broken pipe",
        "alarm clock", "terminated", "stack fault", "child exited", "continued", "stopped (signal)", "stopped", "stopped (tty input)",
        "stopped (tty output)", "urgent I/O condition", "CPU time limit exceeded", "file size limit exceeded", "virtual timer expired",
        "profiling timer expired", "window changed", "I/O possible", "power failure", "bad system call",
    ];

    /// <summary>Absent after exit code 0.</summary>
    internal string? Error => ExitCode == 0 ? null : Status;

    internal static ProcessEnd FromWaitStatus(int status)
    {
        var signal = status & 0x7f;
        if (signal == 0)
        {
            var code = (status >> 8) & 0xff;
            return new ProcessEnd(code, true, $"exit status {code}");
        }

        var name = signal < s_signals.Length ? s_signals[signal] : $"signal {signal}";
        return new ProcessEnd(-1, false, $"signal: {name}{((status & 0x80) != 0 ? " (core dumped)" : "")}");
    }
}
