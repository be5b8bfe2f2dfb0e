namespace InterpreterKernel.Kernel.Remote;

/// <summary>Why a link ended for good.</summary>
internal enum RelayLinkEndReason
{
    /// <summary>Its owner disposed it.</summary>
    Closed,

    /// <summary>Its owner ended it with a reason of his own (<see cref="RelayLink.End(string, Exception?)"/>).</summary>
    Ended,

    /// <summary>An attempt to attach failed in a way that no further attempt can mend.</summary>
    AttachFailed,

    /// <summary>Another relay answered than before: the daemon was killed, and the kernel with it.</summary>
    RelayReplaced,

    /// <summary>The sandbox starts attach processes, but none finds or starts a relay.</summary>
    RelayGone,

    /// <summary>The relay sent what it never sends.</summary>
    ProtocolViolated,

    /// <summary>A fault in this code.</summary>
    Faulted,
}

/// <summary>The first reason for which a link ended; what follows from it is not recorded.</summary>
/// <param name="Reason">The reason.</param>
/// <param name="Message">For people.</param>
/// <param name="Cause">The exception behind it, if any.</param>
internal sealed record RelayLinkEnd(RelayLinkEndReason Reason, string Message, Exception? Cause = null);

/// <summary>Whether the relay can be reached now.</summary>
/// <param name="IsConnected">True between the relay's HELLO and the end of the attachment.</param>
/// <param name="Since">When that began.</param>
/// <param name="Reason">What ended the last attachment, or made the last attempt fail, while not connected.</param>
internal sealed record RelayConnection(bool IsConnected, DateTimeOffset Since, string? Reason);
