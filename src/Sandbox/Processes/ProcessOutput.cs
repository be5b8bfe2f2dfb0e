namespace InterpreterKernel.Sandbox;

/// <summary>Something that a process did: it printed, or it ended.</summary>
/// <remarks>The bytes of an output are valid only until the next one is asked for; copy what is to be kept.</remarks>
public abstract record ProcessOutput
{
    private protected ProcessOutput()
    {
    }

    /// <summary>It wrote to its standard output. Pieces are cut anywhere, also inside a character.</summary>
    /// <param name="Data">What it wrote; valid until the next output is asked for.</param>
    public sealed record Stdout(ReadOnlyMemory<byte> Data) : ProcessOutput;

    /// <summary>It wrote to its standard error. How this lies between pieces of standard output is not known.</summary>
    /// <param name="Data">What it wrote; valid until the next output is asked for.</param>
    public sealed record Stderr(ReadOnlyMemory<byte> Data) : ProcessOutput;

    /// <summary>It wrote to its terminal.</summary>
    /// <param name="Data">What it wrote; valid until the next output is asked for.</param>
    public sealed record Pty(ReadOnlyMemory<byte> Data) : ProcessOutput;

    /// <summary>It ended. Nothing follows.</summary>
    /// <param name="ExitCode">Its exit code; -1 when a signal ended it.</param>
    /// <param name="Exited">True when it exited by itself, false when a signal ended it.</param>
    /// <param name="Status">In words, such as <c>exit status 3</c> or <c>signal: killed</c>.</param>
    /// <param name="Error">What went wrong, in words; null after exit code 0.</param>
    public sealed record Ended(int ExitCode, bool Exited, string Status, string? Error) : ProcessOutput;
}
