using System.Runtime.InteropServices;

namespace InterpreterKernel.Protocol.ZeroMq;

/// <summary>A libzmq context. Its release waits for its sockets to have sent what their linger allows.</summary>
internal sealed class ContextHandle : SafeHandle
{
    internal ContextHandle(nint handle)
        : base(0, ownsHandle: true) => SetHandle(handle);

    public override bool IsInvalid => handle == 0;

    protected override bool ReleaseHandle()
    {
        int result;
        do
        {
            result = LibZmq.ContextTerminate(handle);
        }
        while (result != 0 && Marshal.GetLastPInvokeError() == Errno.Interrupted);
        return result == 0;
    }
}

/// <summary>A libzmq socket. It keeps its context alive: terminating a context with an open socket would block for ever.</summary>
internal sealed class SocketHandle : SafeHandle
{
    private readonly ContextHandle _context;

    internal SocketHandle(nint handle, ContextHandle context)
        : base(0, ownsHandle: true)
    {
        var added = false;
        context.DangerousAddRef(ref added);
        _context = context;
        SetHandle(handle);
    }

    public override bool IsInvalid => handle == 0;

    protected override bool ReleaseHandle()
    {
        var closed = LibZmq.Close(handle) == 0;
        _context.DangerousRelease();
        return closed;
    }
}
