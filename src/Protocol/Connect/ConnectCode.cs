namespace InterpreterKernel.Protocol.Connect;

/// <summary>The error codes of the Connect protocol (connectrpc.com, "Error codes").</summary>
public enum ConnectCode
{
    /// <summary>The call was cancelled, usually by its caller.</summary>
    Canceled,

    /// <summary>An error that fits no other code.</summary>
    Unknown,

    /// <summary>The request is malformed, whatever the state of the service.</summary>
    InvalidArgument,

    /// <summary>The deadline of the call passed before it was done.</summary>
    DeadlineExceeded,

    /// <summary>The thing asked for does not exist.</summary>
    NotFound,

    /// <summary>The thing to be made exists already.</summary>
    AlreadyExists,

    /// <summary>The caller is known but may not do this.</summary>
    PermissionDenied,

    /// <summary>A quota or a resource is used up.</summary>
    ResourceExhausted,

    /// <summary>The state of the service does not allow the call.</summary>
    FailedPrecondition,

    /// <summary>The call was given up, for example because of a conflict.</summary>
    Aborted,

    /// <summary>A position outside the valid range.</summary>
    OutOfRange,

    /// <summary>The service does not have this method or this value.</summary>
    Unimplemented,

    /// <summary>The service broke one of its own rules.</summary>
    Internal,

    /// <summary>The service can't be reached now; the call may be tried again.</summary>
    Unavailable,

    /// <summary>Data are lost or damaged beyond repair.</summary>
    DataLoss,

    /// <summary>The caller did not say who it is, or not credibly.</summary>
    Unauthenticated,
}
