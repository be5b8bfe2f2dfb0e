using System.Buffers;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace InterpreterKernel.Protocol.ZeroMq;

/// <summary>
/// Managed memory that libzmq sends from without a copy. It is pinned until libzmq says that it is done, which it does
/// on a thread of its own, exactly once, also when the message is dropped.
/// </summary>
internal sealed unsafe class LentFrame
{
    private readonly HeldMessages? _inFlight;
    private readonly long _bytes;
    private MemoryHandle _pin;

    private LentFrame(ReadOnlyMemory<byte> frame, HeldMessages? inFlight, long bytes)
    {
        _pin = frame.Pin();
        _inFlight = inFlight;
        _bytes = bytes;
        inFlight?.Add(bytes);
    }

    /// <summary>Makes <paramref name="message"/> of the frame's own memory; <paramref name="bytes"/> is what counts as in flight.</summary>
    internal static void Lend(LibZmq.Message* message, ReadOnlyMemory<byte> frame, HeldMessages? inFlight, long bytes)
    {
        var lent = new LentFrame(frame, inFlight, bytes);
        var self = GCHandle.Alloc(lent);
        if (LibZmq.MessageFromData(message, lent._pin.Pointer, (nuint)frame.Length, &Release, (void*)GCHandle.ToIntPtr(self)) != 0)
        {
            self.Free();
            lent.End();
            throw ZeroMqException.Last("prepare a message");
        }
    }

    [UnmanagedCallersOnly(CallConvs = [])]
    private static void Release(void* data, void* hint)
    {
        var self = GCHandle.FromIntPtr((nint)hint);
        var lent = Unsafe.As<LentFrame>(self.Target!);
        self.Free();
        lent.End();
    }

    private void End()
    {
        _pin.Dispose();
        _inFlight?.Release(_bytes);
    }
}
