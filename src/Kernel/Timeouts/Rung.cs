namespace InterpreterKernel.Kernel.Timeouts;

/// <summary>What is done to a cell over its limit, one after the other until one of them stops it.</summary>
internal enum Rung
{
    /// <summary>Nothing, yet.</summary>
    None,

    /// <summary>An interrupt, as a user's. Variables and files are kept.</summary>
    Interrupt,

    /// <summary>Another one, for code that caught the first.</summary>
    SecondInterrupt,

    /// <summary>The kernel process is killed and started again in the same sandbox. Variables are lost, files kept.</summary>
    RestartKernel,

    /// <summary>The sandbox is killed; the next cell gets a new one. Variables and files are lost.</summary>
    ReplaceSandbox,
}
