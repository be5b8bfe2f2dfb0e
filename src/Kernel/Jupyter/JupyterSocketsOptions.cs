namespace InterpreterKernel.Kernel.Jupyter;

/// <summary>Bounds and times of <see cref="JupyterSockets"/>; the defaults are for use, the tests shrink them.</summary>
internal sealed record JupyterSocketsOptions
{
    /// <summary>Outgoing bytes above which <see cref="JupyterSockets.WaitForRoomAsync"/> waits (32 MiB).</summary>
    public long RoomBytes { get; init; } = 32L << 20;

    /// <summary>
    /// Output queued for iopub above which a stuck client loses messages even when nobody else waits for them
    /// (256 MiB). Senders that await room never come near it.
    /// </summary>
    public long IopubSpoolBytes { get; init; } = 256L << 20;

    /// <summary>How long a client may read nothing at all, with output waiting, before the others no longer wait for it (10 s).</summary>
    public TimeSpan StuckAfter { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>How long a reply waits for the output sent before it (3 s); then it goes, late output or not.</summary>
    public TimeSpan ReplyWaitsForOutput { get; init; } = TimeSpan.FromSeconds(3);

    /// <summary>Replies that one client may leave unread before it loses further ones, in bytes (256 MiB).</summary>
    public long PeerBytes { get; init; } = 256L << 20;

    /// <summary>The largest message taken from a client, in bytes (1 GiB).</summary>
    public long MaxMessageBytes { get; init; } = 1L << 30;

    /// <summary>How long closing waits for the last messages to leave (1 s).</summary>
    public TimeSpan Linger { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>How long a port that somebody else holds is tried again (2 s).</summary>
    public TimeSpan BindPatience { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>The clock.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;
}

/// <summary>What the sockets threw away, and why; all zero in a healthy session.</summary>
/// <param name="BadSignatures">Messages whose signature was not that of the connection's key.</param>
/// <param name="Malformed">Messages that were no Jupyter messages, or over the size bound.</param>
/// <param name="IopubDropped">Outputs that a stuck client may have missed while the others got them.</param>
/// <param name="RepliesDropped">Replies to a client that reads none, or to nobody.</param>
/// <param name="HandlerFaults">Messages whose handler threw.</param>
internal sealed record JupyterSocketsCounters(long BadSignatures, long Malformed, long IopubDropped, long RepliesDropped, long HandlerFaults);
