namespace InterpreterKernel.Kernel.Lifecycle;

/// <summary>Why a kernel process ended. The first reason is the reason; what follows from it is not reported again.</summary>
internal enum EndReason
{
    /// <summary>A client asked for it.</summary>
    Shutdown,

    /// <summary>A client asked for it and will start the next process with the same connection file.</summary>
    Restart,

    /// <summary>SIGTERM, SIGHUP or SIGQUIT.</summary>
    Terminated,

    /// <summary>The program that started the kernel is gone.</summary>
    ParentGone,

    /// <summary>The kernel process in the sandbox ended by itself.</summary>
    KernelDied,

    /// <summary>The sandbox is gone: expired, killed, or its broker is.</summary>
    SandboxLost,

    /// <summary>Something that should not happen.</summary>
    InternalError,
}

/// <summary>The end of a kernel process.</summary>
/// <param name="Reason">Why.</param>
/// <param name="Message">What happened, what survives, what to do; for stderr.</param>
internal sealed record BridgeEnd(EndReason Reason, string Message)
{
    /// <summary>The exit code of the process, as <c>--help</c> and the README list them.</summary>
    public int ExitCode => Reason switch
    {
        EndReason.Shutdown or EndReason.Restart => ExitCodes.Success,
        EndReason.Terminated or EndReason.ParentGone => ExitCodes.Terminated,
        EndReason.KernelDied => ExitCodes.KernelDied,
        EndReason.SandboxLost => ExitCodes.SandboxLost,
        _ => ExitCodes.Failure,
    };
}

/// <summary>The exit codes of <c>interpreter-kernel</c>.</summary>
internal static class ExitCodes
{
    /// <summary>Done.</summary>
    public const int Success = 0;

    /// <summary>It did not work; stderr says why.</summary>
    public const int Failure = 1;

    /// <summary>The command line or the configuration is wrong.</summary>
    public const int Usage = 2;

    /// <summary>The kernel can't serve: connection file, ports or libzmq.</summary>
    public const int CannotServe = 3;

    /// <summary>The kernel process in the sandbox died.</summary>
    public const int KernelDied = 4;

    /// <summary>The sandbox was lost.</summary>
    public const int SandboxLost = 5;

    /// <summary>Ended by a signal or because its parent went away.</summary>
    public const int Terminated = 143;
}
