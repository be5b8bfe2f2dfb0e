using System.Runtime.InteropServices;

namespace InterpreterKernel.Protocol.ZeroMq;

/// <summary>Waits for sockets to have messages, and for plain descriptors to be readable, all at once (zmq_poll).</summary>
public sealed unsafe class ZeroMqPoller
{
    private readonly List<LibZmq.PollItem> _items = [];

    // The sockets' handles are used raw below; this keeps them from being finalised under our feet.
    private readonly List<object> _alive = [];

    /// <summary>Adds a socket; the result is its index for <see cref="IsReady"/>.</summary>
    public int Add(ZeroMqSocket socket)
    {
        ArgumentNullException.ThrowIfNull(socket);
        _alive.Add(socket);
        _items.Add(new LibZmq.PollItem { Socket = socket.Handle.DangerousGetHandle(), Events = LibZmq.PollIn });
        return _items.Count - 1;
    }

    /// <summary>Adds a descriptor, which must stay open; the result is its index.</summary>
    public int Add(int descriptor)
    {
        _items.Add(new LibZmq.PollItem { Descriptor = descriptor, Events = LibZmq.PollIn });
        return _items.Count - 1;
    }

    /// <summary>Includes or leaves out the item at <paramref name="index"/> from now on.</summary>
    public void Watch(int index, bool on) => CollectionsMarshal.AsSpan(_items)[index].Events = on ? LibZmq.PollIn : (short)0;

    /// <summary>Waits until something is ready or the time is over; -1 waits for ever. True when something is ready.</summary>
    public bool Wait(int milliseconds)
    {
        var items = CollectionsMarshal.AsSpan(_items);
        fixed (LibZmq.PollItem* first = items)
        {
            var ready = LibZmq.Poll(first, items.Length, milliseconds);
            if (ready >= 0)
            {
                return ready > 0;
            }
        }

        // A signal ended the wait: the caller's loop comes back with the time that is then left.
        var errno = Marshal.GetLastPInvokeError();
        return errno == Errno.Interrupted ? false : throw ZeroMqException.From(errno, "wait for messages");
    }

    /// <summary>Whether the item at <paramref name="index"/> was ready when <see cref="Wait"/> returned.</summary>
    public bool IsReady(int index) => (_items[index].Returned & LibZmq.PollIn) != 0;
}
