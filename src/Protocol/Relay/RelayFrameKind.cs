namespace InterpreterKernel.Protocol.Relay;

/// <summary>What a relay frame carries. The kind also says in which lane the frame is numbered.</summary>
public enum RelayFrameKind : byte
{
    /// <summary>First frame of each attachment, in both directions (<see cref="RelayHello"/>). Not numbered.</summary>
    Hello = 1,

    /// <summary>Two u64: the highest bulk and urgent numbers received, for whose successors there is room. Not numbered.</summary>
    Ack = 2,

    /// <summary>Asks for a <see cref="Pong"/> with the same payload. Not numbered.</summary>
    Ping = 3,

    /// <summary>The answer to <see cref="Ping"/>. Not numbered.</summary>
    Pong = 4,

    /// <summary>A whole message, or the last piece of one. Bulk lane.</summary>
    Bulk = 5,

    /// <summary>A piece of a message; more follow. Bulk lane.</summary>
    BulkPart = 6,

    /// <summary>A whole message that overtakes the bulk lane. Urgent lane.</summary>
    Urgent = 7,

    /// <summary>A <see cref="RelayCommand"/>, bridge to relay. Urgent lane.</summary>
    Command = 8,

    /// <summary>A <see cref="RelayEvent"/> that keeps its place behind the output before it, relay to bridge. Bulk lane.</summary>
    Event = 9,

    /// <summary>A <see cref="RelayEvent"/> that overtakes the output before it, relay to bridge. Urgent lane.</summary>
    Notice = 10,
}

/// <summary>The two independently numbered sequences of frames in each direction.</summary>
public enum RelayLane
{
    /// <summary>Not numbered, not repeated after a reconnect: HELLO, ACK, PING, PONG.</summary>
    None,

    /// <summary>Everything that may be long.</summary>
    Bulk,

    /// <summary>What may not wait behind it.</summary>
    Urgent,
}

/// <summary>The kernel socket a message belongs to.</summary>
public enum RelayChannel : byte
{
    /// <summary>Requests and their replies.</summary>
    Shell = 1,

    /// <summary>Requests that are served while a cell runs.</summary>
    Control = 2,

    /// <summary>Questions of the kernel and their answers.</summary>
    Stdin = 3,

    /// <summary>What the kernel publishes; relay to bridge only.</summary>
    IOPub = 4,

    /// <summary>
    /// An interrupt_request of a client; bridge to relay only. A kernel whose kernelspec says interrupt_mode message gets it
    /// and answers it on <see cref="Control"/>; for any other the relay signals, and tells <see cref="KernelInterrupted"/>
    /// with the id of the request, which the bridge then answers.
    /// </summary>
    Interrupt = 5,
}
