namespace InterpreterKernel.SandboxHost;

/// <summary>One thing the embedded host needs of the machine.</summary>
/// <param name="Name">What was looked at.</param>
/// <param name="Ok">Whether it is as needed.</param>
/// <param name="Required">Whether the host refuses to start without it.</param>
/// <param name="Detail">What was found.</param>
/// <param name="Mend">What to do about it; null when all is well.</param>
public sealed record HostCheck(string Name, bool Ok, bool Required, string Detail, string? Mend);
