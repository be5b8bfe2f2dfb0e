namespace InterpreterKernel.Protocol.ZeroMq;

/// <summary>
/// Owns libzmq's I/O thread. Dispose the sockets first; disposing the context then waits for what their linger allows.
/// </summary>
public sealed class ZeroMqContext : IDisposable
{
    /// <summary>Loads libzmq where needed and makes a context.</summary>
    /// <exception cref="ZeroMqException">There is no usable libzmq.</exception>
    public ZeroMqContext()
    {
        ZeroMqLibrary.EnsureLoaded();
        var handle = LibZmq.ContextNew();
        if (handle == 0)
        {
            throw ZeroMqException.Last("make a context");
        }

        Handle = new ContextHandle(handle);
    }

    internal ContextHandle Handle { get; }

    /// <summary>Makes a socket, which is the caller's to dispose. It throws received messages over <paramref name="maxMessageBytes"/> away.</summary>
    public ZeroMqSocket CreateSocket(ZeroMqSocketType type, long maxMessageBytes = ZeroMqSocket.DefaultMaxMessageBytes)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(maxMessageBytes, Array.MaxLength);
        var handle = LibZmq.Socket(Handle, (int)type);
        return handle == 0
            ? throw ZeroMqException.Last($"make a {type} socket")
            : new ZeroMqSocket(new SocketHandle(handle, Handle), type, maxMessageBytes);
    }

    /// <inheritdoc/>
    public void Dispose() => Handle.Dispose();
}
