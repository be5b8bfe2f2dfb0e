namespace InterpreterKernel.Kernel.Lifecycle;

/// <summary>
/// The kernel's own words, on stderr, where every launcher shows or keeps them. No logging framework: loading one would cost
/// more than all it says. Bodies of messages are never written.
/// </summary>
internal sealed class KernelLog(TextWriter output, bool verbose)
{
    private readonly Lock _gate = new();

    /// <summary>Something the user may want to know.</summary>
    public void Warning(string message) => Write("warning", message);

    /// <summary>What it did, for those who look for a fault: with <c>INTERPRETER_KERNEL_LOG=debug</c>.</summary>
    public void Debug(string message)
    {
        if (verbose)
        {
            Write("debug", message);
        }
    }

    private void Write(string level, string message)
    {
        try
        {
            lock (_gate)
            {
                output.WriteLine($"interpreter-kernel: {level}: {message}");
                output.Flush();
            }
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException)
        {
            // Inherited stderr may be a pipe that nobody reads any more (jupyter-wire.md 1.3); there is no other place to say it.
        }
    }
}
