namespace InterpreterKernel.SandboxHost;

/// <summary>
/// What one sandbox may use. Files live in memory (tmpfs), so that a killed sandbox leaves nothing behind and their
/// size has a bound; they count towards <see cref="MemoryBytes"/> as well.
/// </summary>
public sealed record SandboxResources
{
    /// <summary>Memory of all processes and files together; nothing is swapped.</summary>
    /// <value>2 GiB.</value>
    public long MemoryBytes { get; init; } = 2L << 30;

    /// <summary>Processes and threads together.</summary>
    /// <value>512.</value>
    public int Pids { get; init; } = 512;

    /// <summary>Processor time, in whole processors and parts of them.</summary>
    /// <value>2.</value>
    public double Cpus { get; init; } = 2.0;

    /// <summary>Size of <c>/home/user</c>.</summary>
    /// <value>1 GiB.</value>
    public long DiskBytes { get; init; } = 1L << 30;

    /// <summary>Size of <c>/tmp</c>, and as much again of <c>/run/ik</c> (the relay's own folder).</summary>
    /// <value>512 MiB.</value>
    public long TmpBytes { get; init; } = 512L << 20;

    /// <summary>Size of <c>/dev/shm</c>.</summary>
    /// <value>256 MiB.</value>
    public long SharedMemoryBytes { get; init; } = 256L << 20;

    /// <summary>What nothing would run with.</summary>
    internal IEnumerable<string> Faults()
    {
        if (MemoryBytes < 64 << 20)
        {
            yield return "Resources.MemoryBytes must be 64 MiB or more";
        }

        if (Pids < 16)
        {
            yield return "Resources.Pids must be 16 or more";
        }

        if (Cpus is not (>= 0.05 and <= 1024))
        {
            yield return "Resources.Cpus must be 0.05 to 1024";
        }

        if (DiskBytes < 1 << 20 || TmpBytes < 1 << 20 || SharedMemoryBytes < 1 << 16)
        {
            yield return "Resources: each size of files must be 1 MiB or more";
        }
    }
}
