namespace InterpreterKernel.Sandbox;

/// <summary>
/// A call to a sandbox service failed. <see cref="Reason"/> says why; the text says what happened, what survives and
/// what to do next. No text ever holds a key or a token.
/// </summary>
public class SandboxException : Exception
{
    /// <summary>Makes it.</summary>
    public SandboxException(SandboxFault reason, string message, Exception? innerException = null)
        : base(message, innerException)
    {
        Reason = reason;
    }

    /// <summary>Why the call failed.</summary>
    public SandboxFault Reason { get; }

    /// <summary>The HTTP status of the answer, if there was one.</summary>
    public int? HttpStatus { get; init; }

    /// <summary>How long the service asks to wait before the next try (its <c>Retry-After</c> header).</summary>
    public TimeSpan? RetryAfter { get; init; }

    /// <summary>The service's own words, if it said any.</summary>
    public string? ServiceMessage { get; init; }

    /// <summary>True when the request did not leave this machine, so that it can't have had any effect.</summary>
    public bool NeverSent { get; init; }

    /// <summary>The service's machine-readable word for the error (its <c>error_code</c>, or the Connect code), if any.</summary>
    public string? ErrorCode { get; init; }
}

/// <summary>
/// A request was not answered within <see cref="SandboxConnection.RequestTimeout"/> and was cancelled. What the service
/// makes of it is unknown, unless the text says otherwise.
/// </summary>
public sealed class SandboxRequestTimeoutException : SandboxException
{
    /// <summary>Makes it.</summary>
    public SandboxRequestTimeoutException(string message, TimeSpan timeout, Exception? innerException = null)
        : base(SandboxFault.RequestTimeout, message, innerException)
    {
        Timeout = timeout;
    }

    /// <summary>The request timeout that ran out.</summary>
    public TimeSpan Timeout { get; }
}

/// <summary>
/// A command ran longer than its execution timeout. <see cref="Stopped"/> tells whether everything it had started is
/// known to be gone.
/// </summary>
public sealed class ExecutionTimeoutException : SandboxException
{
    /// <summary>Makes it.</summary>
    public ExecutionTimeoutException(string message, TimeSpan? timeout, bool stopped, Exception? innerException = null)
        : base(SandboxFault.ExecutionTimeout, message, innerException)
    {
        Timeout = timeout;
        Stopped = stopped;
    }

    /// <summary>The execution timeout that ran out, where it is known on this side.</summary>
    public TimeSpan? Timeout { get; }

    /// <summary>True when no process of the command runs on; false when that could not be made sure of.</summary>
    public bool Stopped { get; }

    /// <summary>What the command had printed on stdout, as far as it came.</summary>
    public string Stdout { get; init; } = "";

    /// <summary>What the command had printed on stderr, as far as it came.</summary>
    public string Stderr { get; init; } = "";
}

/// <summary>The sandbox does not exist any more: it was killed, it came to the end of its lifetime, or its machine failed.</summary>
public sealed class SandboxLostException : SandboxException
{
    /// <summary>Makes it.</summary>
    public SandboxLostException(string sandboxId, string message, Exception? innerException = null)
        : base(SandboxFault.SandboxLost, message, innerException)
    {
        SandboxId = sandboxId;
    }

    /// <summary>Which sandbox it was.</summary>
    public string SandboxId { get; }
}

/// <summary>A command ended with a non-zero exit code; thrown by <see cref="CommandResult.EnsureSuccess"/> only.</summary>
public sealed class CommandExitException : SandboxException
{
    /// <summary>Makes it.</summary>
    public CommandExitException(string message, CommandResult result)
        : base(SandboxFault.CommandFailed, message)
    {
        Result = result;
    }

    /// <summary>How the command ended and what it printed.</summary>
    public CommandResult Result { get; }
}
