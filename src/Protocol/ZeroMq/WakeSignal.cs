using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace InterpreterKernel.Protocol.ZeroMq;

/// <summary>
/// Wakes a thread that waits in <see cref="ZeroMqPoller"/>. Raising it any number of times before it is cleared is one
/// system call and one wake-up. An eventfd on Linux, a pipe elsewhere.
/// </summary>
public sealed unsafe partial class WakeSignal : IDisposable
{
    private const string LibC = "libc";
    private const int EventFdFlags = 0x80800; // EFD_CLOEXEC | EFD_NONBLOCK

    private readonly SafeFileHandle _reader;
    private readonly SafeFileHandle _writer;
    private int _raised;

    /// <summary>Makes a signal that is not raised.</summary>
    public WakeSignal()
    {
        if (OperatingSystem.IsLinux())
        {
            var descriptor = EventFd(0, EventFdFlags);
            ThrowIf(descriptor < 0);
            _reader = _writer = new SafeFileHandle(descriptor, ownsHandle: true);
            return;
        }

        // Raise writes one byte per clearing, so the pipe never fills and needs no non-blocking mode.
        var ends = stackalloc int[2];
        ThrowIf(Pipe(ends) < 0);
        _reader = new SafeFileHandle(ends[0], ownsHandle: true);
        _writer = new SafeFileHandle(ends[1], ownsHandle: true);
        const int SetDescriptorFlags = 2;
        const int CloseOnExec = 1;
        ThrowIf(Control(ends[0], SetDescriptorFlags, CloseOnExec) < 0 || Control(ends[1], SetDescriptorFlags, CloseOnExec) < 0);
    }

    /// <summary>Readable while the signal is raised.</summary>
    public int Descriptor => (int)_reader.DangerousGetHandle();

    /// <summary>Raises it, from any thread.</summary>
    public void Raise()
    {
        if (Interlocked.Exchange(ref _raised, 1) == 0)
        {
            ulong one = 1;
            ThrowIf(Write(_writer, &one, sizeof(ulong)) != sizeof(ulong));
        }
    }

    /// <summary>
    /// Clears it. To be called by the waiting thread only, when <see cref="Descriptor"/> is readable, and before it
    /// looks for what it was woken for.
    /// </summary>
    public void Clear()
    {
        // In this order a raise is never lost: until the flag falls nobody writes, and what was said before the fall
        // is seen after it. The other way round a raise in between would be read away with its flag left up.
        ulong value;
        ThrowIf(Read(_reader, &value, sizeof(ulong)) != sizeof(ulong));
        Interlocked.Exchange(ref _raised, 0);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _reader.Dispose();
        _writer.Dispose();
    }

    private static void ThrowIf(bool failed)
    {
        if (failed)
        {
            var errno = Marshal.GetLastPInvokeError();
            throw new ZeroMqException(ZeroMqFault.Other, "the wake-up of the socket thread failed: " + Marshal.GetPInvokeErrorMessage(errno), errno);
        }
    }

    [LibraryImport(LibC, EntryPoint = "eventfd", SetLastError = true)]
    private static partial int EventFd(uint value, int flags);

    [LibraryImport(LibC, EntryPoint = "pipe", SetLastError = true)]
    private static partial int Pipe(int* ends);

    [LibraryImport(LibC, EntryPoint = "fcntl", SetLastError = true)]
    private static partial int Control(int descriptor, int command, int value);

    [LibraryImport(LibC, EntryPoint = "read", SetLastError = true)]
    private static partial nint Read(SafeFileHandle file, void* buffer, nint count);

    [LibraryImport(LibC, EntryPoint = "write", SetLastError = true)]
    private static partial nint Write(SafeFileHandle file, void* buffer, nint count);
}
