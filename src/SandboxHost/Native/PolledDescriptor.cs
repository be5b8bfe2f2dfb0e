using System.Runtime.InteropServices;
using System.Threading.Tasks.Sources;
using Microsoft.Win32.SafeHandles;

namespace InterpreterKernel.SandboxHost.Native;

/// <summary>
/// Our end of a pipe, a socket or a process descriptor, read or written without a waiting thread. One operation at
/// a time; disposal (from any thread) ends a pending one: a read then gives 0, a write fails.
/// </summary>
internal sealed class PolledDescriptor : IValueTaskSource, IDisposable
{
    private readonly Poller _poller;
    private readonly SafeFileHandle _handle;
    private readonly bool _forWriting;
    private readonly ulong _key;
    private readonly Lock _gate = new();
    private ManualResetValueTaskSourceCore<bool> _ready = new() { RunContinuationsAsynchronously = true };
    private bool _waiting;
    private bool _closed;
    private volatile bool _cutOff;

    /// <summary>Takes over <paramref name="handle"/> and makes it non-blocking.</summary>
    internal PolledDescriptor(Poller poller, SafeFileHandle handle, bool forWriting)
    {
        _poller = poller;
        _handle = handle;
        _forWriting = forWriting;
        var flags = LibC.FileControl(handle, LibC.GetFlags, 0);
        if (flags < 0 || LibC.FileControl(handle, LibC.SetFlags, flags | LibC.NonBlocking) < 0)
        {
            throw NativeException.Last("fcntl(O_NONBLOCK)");
        }

        _key = poller.Watch(this, handle);
    }

    internal SafeFileHandle Handle => _handle;

    public void Dispose()
    {
        lock (_gate)
        {
            if (_closed)
            {
                return;
            }

            _closed = true;
            _poller.Forget(_key, _handle);
            WakeNeedsLock();
        }

        _handle.Dispose();
    }

    /// <summary>Reads what there is, waiting for the first byte; 0 at the end of the file and after disposal.</summary>
    internal async ValueTask<int> ReadAsync(Memory<byte> buffer)
    {
        while (true)
        {
            var count = TryRead(buffer.Span);
            if (count >= 0)
            {
                return count;
            }

            if (_cutOff)
            {
                return 0;
            }

            await WaitAsync();
        }
    }

    /// <summary>Reads what there is at this moment: -1 when nothing is, 0 at the end of the file and after disposal.</summary>
    internal unsafe int TryRead(Span<byte> buffer)
    {
        while (true)
        {
            nint count;
            try
            {
                fixed (byte* start = buffer)
                {
                    count = LibC.Read(_handle, start, (nuint)buffer.Length);
                }
            }
            catch (ObjectDisposedException)
            {
                return 0;
            }

            if (count >= 0)
            {
                return (int)count;
            }

            switch (Marshal.GetLastPInvokeError())
            {
                case LibC.EIntr:
                    break;
                case LibC.EAgain:
                    return -1;
                default:
                    // A connection reset is an end as well: the peer is gone.
                    return 0;
            }
        }
    }

    /// <summary>Writes all of it.</summary>
    /// <exception cref="IOException">The reader is gone, or this end was closed meanwhile.</exception>
    internal async ValueTask WriteAsync(ReadOnlyMemory<byte> data)
    {
        while (data.Length > 0)
        {
            var count = TryWrite(data.Span);
            if (count < 0)
            {
                await WaitAsync();
            }
            else
            {
                data = data[count..];
            }
        }
    }

    /// <summary>Waits until the descriptor is ready (for a process: until it has ended) or disposed of.</summary>
    internal ValueTask WaitAsync()
    {
        lock (_gate)
        {
            if (_closed || _cutOff)
            {
                return ValueTask.CompletedTask;
            }

            _ready.Reset();
            _waiting = true;
            _poller.Arm(_key, _handle, _forWriting);
            return new ValueTask(this, _ready.Version);
        }
    }

    /// <summary>From now on a read takes what is there but waits for no more: it then gives 0.</summary>
    internal void CutOff()
    {
        lock (_gate)
        {
            _cutOff = true;
            WakeNeedsLock();
        }
    }

    internal void Signal()
    {
        lock (_gate)
        {
            WakeNeedsLock();
        }
    }

    void IValueTaskSource.GetResult(short token) => _ready.GetResult(token);

    ValueTaskSourceStatus IValueTaskSource.GetStatus(short token) => _ready.GetStatus(token);

    void IValueTaskSource.OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _ready.OnCompleted(continuation, state, token, flags);

    private unsafe int TryWrite(ReadOnlySpan<byte> data)
    {
        while (true)
        {
            nint count;
            try
            {
                fixed (byte* start = data)
                {
                    count = LibC.Write(_handle, start, (nuint)data.Length);
                }
            }
            catch (ObjectDisposedException e)
            {
                throw new IOException("this end was closed while it was written to", e);
            }

            if (count >= 0)
            {
                return (int)count;
            }

            switch (Marshal.GetLastPInvokeError())
            {
                case LibC.EIntr:
                    break;
                case LibC.EAgain:
                    return -1;
                default:
                    throw NativeException.Last("write");
            }
        }
    }

    private void WakeNeedsLock()
    {
        if (_waiting)
        {
            _waiting = false;
            _ready.SetResult(true);
        }
    }
}
