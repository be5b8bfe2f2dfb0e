namespace InterpreterKernel.Kernel.Remote;

/// <summary>How a <see cref="RelayLink"/> behaves. The defaults are what the kernel uses.</summary>
internal sealed record RelayLinkOptions
{
    /// <summary>After this much silence the relay is asked for a sign of life; after twice as much the attachment is given up.</summary>
    public TimeSpan PingInterval { get; init; } = TimeSpan.FromSeconds(3);

    /// <summary>The same while nothing is awaited (<see cref="RelayLink.Rest"/>): a notebook that is open and does nothing costs nearly nothing.</summary>
    public TimeSpan RestingPingInterval { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>
    /// How long an attachment may take from the start of its process to the relay's HELLO. One that began on a connection just frozen waits for
    /// all of it, so it is short, and doubles with each attempt in a row for which it was too short.
    /// </summary>
    public TimeSpan AttachTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>The most that becomes: enough to start Python in a sandbox that has much else to do.</summary>
    public TimeSpan LongestAttachTimeout { get; init; } = TimeSpan.FromSeconds(40);

    /// <summary>
    /// The sandbox can be reached, but for so long every attach process has ended before the relay's HELLO: there will be none any more.
    /// </summary>
    public TimeSpan RelayGoneAfter { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>The wait before the second attempt to attach again (the first comes at once); it doubles with each further one.</summary>
    public TimeSpan FirstRetry { get; init; } = TimeSpan.FromMilliseconds(100);

    /// <summary>The longest wait between attempts.</summary>
    public TimeSpan LongestRetry { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>Bulk bytes written and not yet acknowledged, over which the writer waits; sending still queues.</summary>
    public long SendWindow { get; init; } = 64L * 1024 * 1024;

    /// <summary>
    /// Bytes received and not yet taken by the consumer, over which the attachment is not read. The relay stops far below that, because
    /// only what was taken is acknowledged; this bound is for one that does not.
    /// </summary>
    public long ReceiveLimit { get; init; } = 64L * 1024 * 1024;

    /// <summary>Decides whether a failed attempt to attach is final (the sandbox is gone, the key was revoked) or worth another.</summary>
    public Func<Exception, bool> IsFinal { get; init; } = static _ => false;

    /// <summary>How many such attempts in a row it takes: one byte that was damaged on the way can make a key or a path look wrong.</summary>
    public int FinalAfter { get; init; } = 1;
}
