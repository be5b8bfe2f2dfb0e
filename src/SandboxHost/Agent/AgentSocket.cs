using System.Runtime.InteropServices;
using InterpreterKernel.SandboxHost.Native;
using Microsoft.Win32.SafeHandles;

namespace InterpreterKernel.SandboxHost.Agent;

/// <summary>
/// The host's end of the socket to a sandbox's agent: bytes both ways, descriptors outwards only. It never receives
/// descriptors, so a sandbox can't hand one in here; <see cref="Ports.PassedSocket"/> is the one place where it can.
/// </summary>
internal sealed class AgentSocket : IDisposable
{
    private const int SolSocket = 1;
    private const int Rights = 1;

    private readonly PolledDescriptor _reading;
    private readonly PolledDescriptor _writing;

    private AgentSocket(PolledDescriptor reading, PolledDescriptor writing)
    {
        _reading = reading;
        _writing = writing;
    }

    /// <summary>Makes the pair; the second value goes to the sandbox, and must be disposed of here afterwards.</summary>
    internal static unsafe (AgentSocket Ours, SafeFileHandle Theirs) CreatePair(Poller poller)
    {
        var ends = stackalloc int[2];
        if (LibC.SocketPair(LibC.UnixFamily, LibC.SockStream | LibC.SockCloseOnExec, 0, ends) != 0)
        {
            throw NativeException.Last("socketpair");
        }

        var ours = new SafeFileHandle(ends[0], ownsHandle: true);
        var theirs = new SafeFileHandle(ends[1], ownsHandle: true);

        // Waiting to read and waiting to write are two registrations, and epoll wants a descriptor for each.
        const int duplicateCloseOnExec = 1030;
        var copy = Poller.Own(LibC.FileControl(ours, duplicateCloseOnExec, 3), "fcntl(F_DUPFD_CLOEXEC)");
        return (new AgentSocket(new PolledDescriptor(poller, ours, forWriting: false), new PolledDescriptor(poller, copy, forWriting: true)), theirs);
    }

    public void Dispose()
    {
        _reading.Dispose();
        _writing.Dispose();
    }

    internal ValueTask<int> ReadAsync(Memory<byte> buffer) => _reading.ReadAsync(buffer);

    /// <summary>Sends all bytes, the descriptors with the first of them. One caller at a time.</summary>
    internal async ValueTask SendAsync(ReadOnlyMemory<byte> data, IReadOnlyList<SafeFileHandle> descriptors)
    {
        while (data.Length > 0)
        {
            var sent = TrySend(data.Span, descriptors);
            if (sent < 0)
            {
                await _writing.WaitAsync();
            }
            else
            {
                data = data[sent..];
                descriptors = [];
            }
        }
    }

    private unsafe int TrySend(ReadOnlySpan<byte> data, IReadOnlyList<SafeFileHandle> descriptors)
    {
        // struct cmsghdr { size_t len; int level; int type; int fds[]; }
        const int headerLength = 16;
        var control = stackalloc byte[headerLength + 32];
        var taken = 0;
        try
        {
            var message = default(LibC.MessageHeader);
            if (descriptors.Count > 0)
            {
                ArgumentOutOfRangeException.ThrowIfGreaterThan(descriptors.Count, 8);
                var size = headerLength + (4 * descriptors.Count);
                *(ulong*)control = (ulong)size;
                *(int*)(control + 8) = SolSocket;
                *(int*)(control + 12) = Rights;
                for (; taken < descriptors.Count; taken++)
                {
                    var added = false;
                    descriptors[taken].DangerousAddRef(ref added);
                    *(int*)(control + headerLength + (4 * taken)) = (int)descriptors[taken].DangerousGetHandle();
                }

                message.Control = control;
                message.ControlLength = (nuint)((size + 7) & ~7);
            }

            fixed (byte* start = data)
            {
                var vector = new LibC.IoVector { Base = start, Length = (nuint)data.Length };
                message.Vectors = &vector;
                message.VectorCount = 1;
                while (true)
                {
                    var sent = LibC.SendMessage(_writing.Handle, &message, LibC.NoSignal | LibC.DontWait);
                    if (sent >= 0)
                    {
                        return (int)sent;
                    }

                    switch (Marshal.GetLastPInvokeError())
                    {
                        case LibC.EIntr:
                            break;
                        case LibC.EAgain:
                            return -1;
                        default:
                            throw NativeException.Last("sending to the sandbox's agent");
                    }
                }
            }
        }
        catch (ObjectDisposedException e)
        {
            throw new IOException("the sandbox's agent is gone", e);
        }
        finally
        {
            for (var i = 0; i < taken; i++)
            {
                descriptors[i].DangerousRelease();
            }
        }
    }
}
