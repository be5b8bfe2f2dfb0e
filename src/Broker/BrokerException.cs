namespace InterpreterKernel.Broker;

/// <summary>Why the broker could not be used.</summary>
public enum BrokerFault
{
    /// <summary>The runtime directory cannot be used safely.</summary>
    RuntimeDirectory,

    /// <summary>Another broker already serves this user.</summary>
    AlreadyRunning,

    /// <summary>The broker did not start; the message carries the end of its log.</summary>
    StartFailed,

    /// <summary>The broker did not answer, or broke off.</summary>
    Unreachable,

    /// <summary>The broker is going away.</summary>
    Stopping,

    /// <summary>The broker refused the request as wrong.</summary>
    Invalid,

    /// <summary>The broker knows no such claim or sandbox.</summary>
    NotFound,

    /// <summary>The claim or the broker is not in a state that allows this.</summary>
    Conflict,
}

/// <summary>The one exception of this library: what happened, what survives, what to do next.</summary>
public sealed class BrokerException : Exception
{
    /// <summary>Makes the exception.</summary>
    public BrokerException(BrokerFault fault, string message, Exception? inner = null)
        : base(message, inner) => Fault = fault;

    /// <summary>The kind of failure.</summary>
    public BrokerFault Fault { get; }
}
