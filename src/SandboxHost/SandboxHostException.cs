namespace InterpreterKernel.SandboxHost;

/// <summary>Why the embedded host could not do something.</summary>
public enum SandboxHostFault
{
    /// <summary>An option is missing or wrong.</summary>
    Options,

    /// <summary>No OCI runtime was found, or it does not work.</summary>
    NoRuntime,

    /// <summary>A protection or limit can't be enforced on this machine.</summary>
    CannotIsolate,

    /// <summary>The Python interpreter meant as template can't be used.</summary>
    Template,

    /// <summary>Another host holds the state directory.</summary>
    InUse,

    /// <summary>A sandbox did not start.</summary>
    StartFailed,

    /// <summary>A sandbox could not be paused or resumed.</summary>
    ChangeFailed,
}

/// <summary>The embedded host could not do something; the message names what, and what to do next.</summary>
public sealed class SandboxHostException : Exception
{
    /// <summary>Makes it.</summary>
    public SandboxHostException(SandboxHostFault reason, string message, Exception? inner = null)
        : base(message, inner)
    {
        Reason = reason;
    }

    /// <summary>What kind of failure it was.</summary>
    public SandboxHostFault Reason { get; }
}
