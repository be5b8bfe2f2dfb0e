using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace InterpreterKernel.SandboxHost.Native;

/// <summary>
/// Tells when pipes, sockets and processes are ready, for all sandboxes, on one small thread. .NET would block a
/// pool thread for each pipe read; a host of 20 sandboxes with some pipes each would starve its pool.
/// </summary>
internal sealed unsafe class Poller : IDisposable
{
    private const int Add = 1;
    private const int Delete = 2;
    private const int Modify = 3;
    private const uint Readable = 0x1;
    private const uint Writable = 0x4;
    private const uint OneShot = 1u << 30;
    private const int Batch = 64;

    // struct epoll_event is packed on x86-64 only.
    private static readonly int s_eventSize = RuntimeInformation.ProcessArchitecture == Architecture.X64 ? 12 : 16;
    private static readonly int s_dataOffset = s_eventSize - 8;

    private readonly ConcurrentDictionary<ulong, PolledDescriptor> _watched = new();
    private readonly SafeFileHandle _epoll;
    private readonly SafeFileHandle _wake;
    private readonly Thread _thread;
    private ulong _lastKey;

    internal Poller()
    {
        _epoll = Own(LibC.EpollCreate(LibC.OpenCloseOnExec), "epoll_create1");
        _wake = Own(LibC.EventFd(0, LibC.OpenCloseOnExec), "eventfd");
        Change(Add, _wake, 0, Readable);
        _thread = new Thread(Run, maxStackSize: 128 * 1024) { IsBackground = true, Name = "sandbox poller" };
        _thread.Start();
    }

    public void Dispose()
    {
        ulong one = 1;
        if (LibC.Write(_wake, (byte*)&one, sizeof(ulong)) < 0)
        {
            throw NativeException.Last("write to the poller's eventfd");
        }

        _thread.Join();
        _epoll.Dispose();
        _wake.Dispose();
    }

    internal static SafeFileHandle Own(int descriptor, string call) =>
        descriptor >= 0 ? new SafeFileHandle(descriptor, ownsHandle: true) : throw NativeException.Last(call);

    /// <summary>Adds a descriptor, not armed yet.</summary>
    internal ulong Watch(PolledDescriptor descriptor, SafeFileHandle handle)
    {
        var key = Interlocked.Increment(ref _lastKey);
        _watched[key] = descriptor;
        Change(Add, handle, key, OneShot);
        return key;
    }

    /// <summary>Asks for one signal when the descriptor is ready (or at once when it is already).</summary>
    internal void Arm(ulong key, SafeFileHandle handle, bool forWriting) =>
        Change(Modify, handle, key, OneShot | (forWriting ? Writable : Readable));

    internal void Forget(ulong key, SafeFileHandle handle)
    {
        if (_watched.TryRemove(key, out _))
        {
            Change(Delete, handle, key, 0);
        }
    }

    private void Change(int operation, SafeFileHandle handle, ulong key, uint events)
    {
        var change = stackalloc byte[16];
        *(uint*)change = events;
        *(ulong*)(change + s_dataOffset) = key;
        if (LibC.EpollControl(_epoll, operation, handle, change) != 0)
        {
            throw NativeException.Last("epoll_ctl");
        }
    }

    private void Run()
    {
        var events = stackalloc byte[16 * Batch];
        while (true)
        {
            var count = LibC.EpollWait(_epoll, events, Batch, -1);
            for (var i = 0; i < count; i++)
            {
                var key = *(ulong*)(events + (i * s_eventSize) + s_dataOffset);
                if (key == 0)
                {
                    return;
                }

                // A key that is gone was disposed of between epoll's answer and now.
                if (_watched.TryGetValue(key, out var descriptor))
                {
                    descriptor.Signal();
                }
            }
        }
    }
}
