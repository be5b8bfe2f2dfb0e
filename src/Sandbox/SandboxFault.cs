namespace InterpreterKernel.Sandbox;

/// <summary>Why a call to a sandbox service failed: the one thing a caller may want to decide by.</summary>
public enum SandboxFault
{
    /// <summary>The service failed in a way that fits no other reason (HTTP 5xx).</summary>
    ServiceError,

    /// <summary>No key, a wrong key, or a wrong sandbox token.</summary>
    Authentication,

    /// <summary>The key is good, but may not do this.</summary>
    Forbidden,

    /// <summary>The sandbox, template, process or file does not exist.</summary>
    NotFound,

    /// <summary>The thing is in a state that does not allow the call; later it may.</summary>
    Conflict,

    /// <summary>Too many requests: come again after <see cref="SandboxException.RetryAfter"/>.</summary>
    RateLimited,

    /// <summary>All sandboxes that the account may run at once are running: kill one, or wait for one to end.</summary>
    ConcurrencyLimit,

    /// <summary>The request itself is wrong, here or in the eyes of the service.</summary>
    InvalidRequest,

    /// <summary>The service does not have this call or this value.</summary>
    Unsupported,

    /// <summary>No room: the disk of the sandbox is full.</summary>
    OutOfSpace,

    /// <summary>The service has no capacity now (HTTP 503): try again later.</summary>
    ServiceBusy,

    /// <summary>The service could not be reached, or the connection to it broke.</summary>
    Unreachable,

    /// <summary>What came back is not what the protocol says.</summary>
    Protocol,

    /// <summary>The request timeout ran out (<see cref="SandboxRequestTimeoutException"/>).</summary>
    RequestTimeout,

    /// <summary>A command ran longer than it may (<see cref="ExecutionTimeoutException"/>).</summary>
    ExecutionTimeout,

    /// <summary>The sandbox is gone (<see cref="SandboxLostException"/>).</summary>
    SandboxLost,

    /// <summary>A command ended with a non-zero exit code (<see cref="CommandExitException"/>).</summary>
    CommandFailed,
}
