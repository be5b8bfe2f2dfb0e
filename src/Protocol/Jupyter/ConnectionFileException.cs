namespace InterpreterKernel.Protocol.Jupyter;

/// <summary>Why a connection file can't be used.</summary>
public enum ConnectionFileFault
{
    /// <summary>There is no such file.</summary>
    NotFound,

    /// <summary>The file is there but can't be read (rights, a directory, a disk error).</summary>
    Unreadable,

    /// <summary>The file is far larger than any connection file.</summary>
    TooLarge,

    /// <summary>The text is not JSON, or ends too early.</summary>
    NotJson,

    /// <summary>The text is JSON but not an object.</summary>
    NotAnObject,

    /// <summary>Keys without which nothing can be bound are missing.</summary>
    MissingKey,

    /// <summary>A value has the wrong JSON type.</summary>
    WrongType,

    /// <summary>A value has the right type and makes no sense, such as port 70000.</summary>
    BadValue,

    /// <summary>The transport is neither <c>tcp</c> nor <c>ipc</c>.</summary>
    UnsupportedTransport,

    /// <summary>The signature scheme is unknown, or too weak.</summary>
    UnsupportedScheme,

    /// <summary>The file asks the kernel to pick ports and register them (JEP 66), which this kernel does not do.</summary>
    Registration,
}

/// <summary>A connection file can't be used. The text says which file, what is wrong and what to do; it never holds the key.</summary>
public sealed class ConnectionFileException : Exception
{
    /// <summary>Makes it from its parts; <paramref name="mend"/> is what the reader should do next.</summary>
    public ConnectionFileException(ConnectionFileFault reason, string file, string what, string mend, Exception? inner = null)
        : base($"The connection file {file} can't be used: {what}. The kernel did not start and nothing is left running. {mend}", inner)
    {
        Reason = reason;
    }

    /// <summary>What kind of fault it is.</summary>
    public ConnectionFileFault Reason { get; }
}
