namespace InterpreterKernel.Kernel.Timeouts;

/// <summary>How long each rung may take before the next one.</summary>
/// <param name="Interrupt">From the first interrupt to the second.</param>
/// <param name="SecondInterrupt">From the second interrupt to the kill of the kernel process.</param>
/// <param name="Kill">From there until the process has to be gone, before the sandbox is replaced.</param>
internal readonly record struct TimeoutGraces(TimeSpan Interrupt, TimeSpan SecondInterrupt, TimeSpan Kill)
{
    /// <summary>2 s, 2 s, 5 s.</summary>
    public static TimeoutGraces Default { get; } = new(TimeSpan.FromSeconds(2), TimeSpan.FromSeconds(2), TimeSpan.FromSeconds(5));
}
