using System.Runtime.InteropServices;
using System.Text;

namespace InterpreterKernel.Protocol.ZeroMq;

/// <summary>What a receive found.</summary>
public enum ZeroMqReceived
{
    /// <summary>No message is there now.</summary>
    Nothing,

    /// <summary>A whole message.</summary>
    Message,

    /// <summary>A message over the socket's bounds came and was thrown away.</summary>
    TooLarge,
}

/// <summary>
/// One libzmq socket. Not for two threads at once; it may be handed from one thread to another through a memory
/// barrier, such as starting a thread.
/// </summary>
public sealed unsafe class ZeroMqSocket : IDisposable
{
    /// <summary>Frames below this are copied into libzmq, larger ones are lent to it (as jupyter_client does).</summary>
    public const int CopyBelow = 64 * 1024;

    /// <summary>The most bytes of one received message, over all its frames, unless the maker says otherwise (1 GiB).</summary>
    public const long DefaultMaxMessageBytes = 1L << 30;

    /// <summary>The most frames of one received message.</summary>
    public const int MaxMessageFrames = 4096;

    private readonly SocketHandle _handle;
    private readonly long _maxMessageBytes;
    private readonly LibZmq.Message[] _one = GC.AllocateArray<LibZmq.Message>(1, pinned: true);
    private LibZmq.Message[] _parts = GC.AllocateArray<LibZmq.Message>(16, pinned: true);

    internal ZeroMqSocket(SocketHandle handle, ZeroMqSocketType type, long maxMessageBytes)
    {
        _maxMessageBytes = maxMessageBytes;
        _handle = handle;
        Type = type;
    }

    /// <summary>What kind of socket it is.</summary>
    public ZeroMqSocketType Type { get; }

    /// <summary>The address it was last bound to, with the real port where 0 was asked for.</summary>
    public string LastEndpoint
    {
        get
        {
            var text = stackalloc byte[512];
            nuint length = 512;
            Check(LibZmq.GetOption(_handle, (int)ZeroMqOption.LastEndpoint, text, &length), "read its address");
            return Encoding.UTF8.GetString(text, (int)length - 1);
        }
    }

    internal SocketHandle Handle => _handle;

    /// <summary>Sets a number option.</summary>
    public void Set(ZeroMqOption option, int value) => Check(LibZmq.SetOption(_handle, (int)option, &value, sizeof(int)), $"set {option}");

    /// <summary>Sets a 64-bit option.</summary>
    public void Set(ZeroMqOption option, long value) => Check(LibZmq.SetOption(_handle, (int)option, &value, sizeof(long)), $"set {option}");

    /// <summary>Sets an option of bytes or UTF-8 text.</summary>
    public void Set(ZeroMqOption option, ReadOnlySpan<byte> value)
    {
        fixed (byte* bytes = value)
        {
            Check(LibZmq.SetOption(_handle, (int)option, bytes, (nuint)value.Length), $"set {option}");
        }
    }

    /// <summary>Reads a number option.</summary>
    public int Get(ZeroMqOption option)
    {
        int value;
        nuint length = sizeof(int);
        Check(LibZmq.GetOption(_handle, (int)option, &value, &length), $"read {option}");
        return value;
    }

    /// <summary>Listens at <paramref name="endpoint"/>.</summary>
    public void Bind(string endpoint) => Check(LibZmq.Bind(_handle, endpoint), $"listen at {endpoint}");

    /// <summary>Connects to <paramref name="endpoint"/>, now or when somebody listens there.</summary>
    public void Connect(string endpoint) => Check(LibZmq.Connect(_handle, endpoint), $"connect to {endpoint}");

    /// <summary>
    /// Sends a message without waiting; false when the socket can't take it now. Large frames are sent from the memory
    /// given, which must not change until then. <paramref name="inFlight"/>, where given, counts the message with
    /// <paramref name="bytes"/> until libzmq has let go of it.
    /// </summary>
    public bool TrySend(ReadOnlySpan<ReadOnlyMemory<byte>> frames, HeldMessages? inFlight = null, long bytes = 0)
    {
        for (var i = 0; i < frames.Length; i++)
        {
            var last = i == frames.Length - 1;

            // libzmq takes a message whole or not at all: only the first frame can be refused, the others never wait.
            var flags = (i == 0 ? LibZmq.DontWait : 0) | (last ? 0 : LibZmq.SendMore);
            var tracker = last ? inFlight : null;
            var sent = frames[i].Length >= CopyBelow || tracker is not null
                ? SendLent(frames[i], tracker, bytes, flags)
                : SendCopy(frames[i].Span, flags);
            if (!sent)
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>
    /// Takes the next message without waiting. Its frames share one new array and are the caller's. A message over
    /// the bounds is read to its end and thrown away.
    /// </summary>
    public ZeroMqReceived TryReceive(out ReadOnlyMemory<byte>[] frames)
    {
        frames = [];
        var count = 0;
        long total = 0;
        var tooLarge = false;
        try
        {
            bool more;
            do
            {
                if (count == _parts.Length && !tooLarge)
                {
                    Grow();
                }

                if (!ReceivePart(Part(count)))
                {
                    return ZeroMqReceived.Nothing;
                }

                var part = Part(count);
                more = LibZmq.MessageMore(part) != 0;
                total += (long)LibZmq.MessageSize(part);
                tooLarge |= count == MaxMessageFrames || total > _maxMessageBytes;
                if (tooLarge)
                {
                    LibZmq.MessageClose(part);
                }
                else
                {
                    count++;
                }
            }
            while (more);

            if (tooLarge)
            {
                return ZeroMqReceived.TooLarge;
            }

            frames = CopyParts(count, (int)total);
            return ZeroMqReceived.Message;
        }
        finally
        {
            for (var i = 0; i < count; i++)
            {
                LibZmq.MessageClose(Part(i));
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _handle.Dispose();

    private static void Check(int result, string what)
    {
        if (result != 0)
        {
            throw ZeroMqException.Last(what);
        }
    }

    private LibZmq.Message* Part(int index) => (LibZmq.Message*)Marshal.UnsafeAddrOfPinnedArrayElement(_parts, index);

    private ReadOnlyMemory<byte>[] CopyParts(int count, int total)
    {
        var frames = new ReadOnlyMemory<byte>[count];
        var bytes = GC.AllocateUninitializedArray<byte>(total);
        var start = 0;
        for (var i = 0; i < count; i++)
        {
            var length = (int)LibZmq.MessageSize(Part(i));
            new ReadOnlySpan<byte>(LibZmq.MessageData(Part(i)), length).CopyTo(bytes.AsSpan(start));
            frames[i] = bytes.AsMemory(start, length);
            start += length;
        }

        return frames;
    }

    private void Grow()
    {
        // A received zmq_msg_t may move in memory: libzmq's own pipes copy it as plain bytes.
        var larger = GC.AllocateArray<LibZmq.Message>(_parts.Length * 2, pinned: true);
        _parts.CopyTo(larger, 0);
        _parts = larger;
    }

    private bool ReceivePart(LibZmq.Message* part)
    {
        LibZmq.MessageInit(part);
        while (LibZmq.MessageReceive(part, _handle, LibZmq.DontWait) < 0)
        {
            var errno = Marshal.GetLastPInvokeError();
            if (errno == Errno.Interrupted)
            {
                continue;
            }

            LibZmq.MessageClose(part);

            // A REP socket that is due to answer has no message for us either.
            return errno == Errno.Again || errno == Errno.WrongState ? false : throw ZeroMqException.From(errno, "receive a message");
        }

        return true;
    }

    private bool SendCopy(ReadOnlySpan<byte> frame, int flags)
    {
        fixed (byte* data = frame)
        {
            while (LibZmq.Send(_handle, data, (nuint)frame.Length, flags) < 0)
            {
                if (!ShouldRetry())
                {
                    return false;
                }
            }
        }

        return true;
    }

    private bool SendLent(ReadOnlyMemory<byte> frame, HeldMessages? inFlight, long bytes, int flags)
    {
        var message = (LibZmq.Message*)Marshal.UnsafeAddrOfPinnedArrayElement(_one, 0);
        LentFrame.Lend(message, frame, inFlight, bytes);
        try
        {
            while (LibZmq.MessageSend(message, _handle, flags) < 0)
            {
                if (!ShouldRetry())
                {
                    LibZmq.MessageClose(message);
                    return false;
                }
            }
        }
        catch (ZeroMqException)
        {
            LibZmq.MessageClose(message);
            throw;
        }

        return true;
    }

    // True: interrupted, try again. False: the socket is full.
    private static bool ShouldRetry()
    {
        var errno = Marshal.GetLastPInvokeError();
        return errno == Errno.Interrupted || (errno == Errno.Again ? false : throw ZeroMqException.From(errno, "send a message"));
    }
}
