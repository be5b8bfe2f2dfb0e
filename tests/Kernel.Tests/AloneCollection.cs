namespace InterpreterKernel.Kernel.Tests;

/// <summary>For tests that measure this process as a whole, or whose clients must be prompt: they run when all others have ended.</summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class AloneCollection
{
    internal const string Name = "alone";
}
