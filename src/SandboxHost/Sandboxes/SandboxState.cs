namespace InterpreterKernel.SandboxHost.Sandboxes;

/// <summary>What a sandbox is doing. One that changes over is, for callers, already where it goes.</summary>
internal enum SandboxState
{
    Running,
    Paused,
}

/// <summary>What came of a pause or a resume.</summary>
internal enum ChangeResult
{
    Done,

    /// <summary>It was paused, or ran, already.</summary>
    Already,

    /// <summary>As many as may be run, or are paused, already.</summary>
    LimitReached,

    /// <summary>It was killed meanwhile.</summary>
    Gone,
}
