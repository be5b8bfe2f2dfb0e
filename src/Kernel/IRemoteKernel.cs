using InterpreterKernel.Protocol.Jupyter;

namespace InterpreterKernel.Kernel;

/// <summary>
/// The far end of the bridge: a running Jupyter kernel in a claimed sandbox. Behind it stand <c>RemoteKernel</c> and the
/// bridge's test double. Disposal gives the sandbox up at once.
/// </summary>
internal interface IRemoteKernel : IAsyncDisposable
{
    /// <summary>The content of the kernel's own kernel_info_reply, a JSON object; empty when it gave none.</summary>
    ReadOnlyMemory<byte> KernelInfo { get; }

    /// <summary>The session id that its messages carry.</summary>
    string Session { get; }

    /// <summary>Whether the sandbox can be reached at this moment. What is sent while it can't is kept.</summary>
    bool IsReachable { get; }

    /// <summary>The sandbox that it runs in, for what is done beside the kernel: files, figures.</summary>
    Sandbox.Sandbox? Box { get; }

    /// <summary>Raised, on any thread, with news of the connection that the user should see although nothing is lost.</summary>
    event Action<string>? Notice;

    /// <summary>Hands a client's message over. Never blocks; what goes out on one channel keeps its order.</summary>
    void Send(JupyterChannel channel, JupyterMessage message);

    /// <summary>All requests are answered: until the next one the connection need not be looked after closely.</summary>
    void Rest()
    {
    }

    /// <summary>Interrupts what runs, overtaking all that is queued; <see cref="RemoteItem.Interrupted"/> tells when it was done.</summary>
    /// <param name="cell">Only while this request has not ended, of which we may not have heard yet; null means whatever runs.</param>
    void Interrupt(string? cell = null);

    /// <summary>
    /// Kills the kernel process and starts another, with this session id, in the same sandbox. <see cref="RemoteItem.Killed"/> tells when the
    /// old one is gone, <see cref="RemoteItem.Restarted"/> or <see cref="RemoteItem.RestartFailed"/> how it went on.
    /// </summary>
    void Restart(string session);

    /// <summary>All that comes from there, in order, once. The last item is <see cref="RemoteItem.Ended"/>.</summary>
    IAsyncEnumerable<RemoteItem> ReadAsync(CancellationToken cancellationToken);

    /// <summary>Gives the sandbox up; returns when its slot is free, or after <paramref name="limit"/>.</summary>
    Task ReleaseAsync(TimeSpan limit);

    /// <summary>Leaves the sandbox to the next process with the same connection file; waits <paramref name="limit"/> at most.</summary>
    Task HandOverAsync(TimeSpan limit);
}

/// <summary>One thing that came from the sandbox.</summary>
internal abstract record RemoteItem
{
    /// <summary>A message of the kernel, to be passed on as it is.</summary>
    public sealed record Message(JupyterChannel Channel, JupyterMessage Value) : RemoteItem;

    /// <summary>The kernel took an interrupt.</summary>
    /// <param name="Cell">The request that it was meant for, if for one.</param>
    /// <param name="Delivered">False when no kernel runs, or that request had ended.</param>
    public sealed record Interrupted(string? Cell = null, bool Delivered = true) : RemoteItem;

    /// <summary>The kernel process that was to be replaced is gone.</summary>
    public sealed record Killed : RemoteItem;

    /// <summary>Its successor serves.</summary>
    /// <param name="KernelInfo">The content of its kernel_info_reply; empty when it gave none.</param>
    public sealed record Restarted(ReadOnlyMemory<byte> KernelInfo) : RemoteItem;

    /// <summary>There is no successor; the sandbox is of no use any more.</summary>
    public sealed record RestartFailed(string Why) : RemoteItem;

    /// <summary>Text output was dropped here, so many bytes: more than could be kept while nobody took it.</summary>
    public sealed record Dropped(long Bytes) : RemoteItem;

    /// <summary>Nothing will come any more.</summary>
    public sealed record Ended(EndOfRemote End) : RemoteItem;
}

/// <summary>Why the far end is gone.</summary>
/// <param name="KernelDied">True when the kernel process died by itself; false when the sandbox was lost.</param>
/// <param name="Name">The error's name in the cell, such as <c>KernelDied</c>.</param>
/// <param name="Message">What happened, what survives, what to do.</param>
internal sealed record EndOfRemote(bool KernelDied, string Name, string Message);

/// <summary>A sandbox could not be had. The kernel lives on: the next request tries again.</summary>
internal sealed class RemoteUnavailableException : Exception
{
    /// <summary>Makes it.</summary>
    /// <param name="name">The error's name in the cell, such as <c>ConcurrencyLimit</c>.</param>
    /// <param name="message">What happened and what to do.</param>
    /// <param name="inner">What it was caused by.</param>
    public RemoteUnavailableException(string name, string message, Exception? inner = null)
        : base(message, inner) => Name = name;

    /// <summary>The error's name in the cell.</summary>
    public string Name { get; }
}

/// <summary>Gets a remote kernel: claims a sandbox, waits for it, starts the kernel in it. Tells meanwhile what it waits for.</summary>
/// <param name="waiting">Called with each new state of waiting, as one line for the user.</param>
/// <param name="cancellationToken">Gives the claim up.</param>
internal delegate Task<IRemoteKernel> RemoteConnector(Action<string> waiting, CancellationToken cancellationToken);
