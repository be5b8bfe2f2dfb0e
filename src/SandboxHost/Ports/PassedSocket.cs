using System.Net.Sockets;
using System.Runtime.InteropServices;
using InterpreterKernel.SandboxHost.Agent;
using InterpreterKernel.SandboxHost.Native;
using Microsoft.Win32.SafeHandles;

namespace InterpreterKernel.SandboxHost.Ports;

/// <summary>
/// A TCP socket that the agent made inside the sandbox's network and passed out, not connected yet. The host connects
/// it, and bytes then flow between the host and the server in there with nothing in between. This is the only
/// descriptor that ever comes out of a sandbox: exactly one is taken, and it must be what was asked for.
/// </summary>
internal static class PassedSocket
{
    private const int SolSocket = 1;
    private const int Rights = 1;

    /// <exception cref="IOException">The sandbox is gone, or what came is no such socket.</exception>
    internal static async Task<Socket> OpenAsync(AgentLink agent, Poller poller, bool version6, CancellationToken cancellation)
    {
        var (ours, theirs) = Pair();
        using var way = new PolledDescriptor(poller, ours, forWriting: false);
        using (theirs)
        {
            await agent.AskSocketAsync(version6, theirs);
        }

        // Disposal ends the wait; what is received then is nothing.
        await using (cancellation.Register(static state => ((PolledDescriptor)state!).CutOff(), way))
        {
            await way.WaitAsync();
        }

        cancellation.ThrowIfCancellationRequested();
        return Check(Receive(way.Handle), version6 ? AddressFamily.InterNetworkV6 : AddressFamily.InterNetwork);
    }

    private static Socket Check(int descriptor, AddressFamily family)
    {
        var handle = new SafeSocketHandle(descriptor, ownsHandle: true);
        Socket? socket = null;
        try
        {
            socket = new Socket(handle);
            if (socket.AddressFamily == family && socket.SocketType == SocketType.Stream && socket.ProtocolType == ProtocolType.Tcp)
            {
                return socket;
            }
        }
        catch (SocketException)
        {
            // No socket at all; told below.
        }

        socket?.Dispose();
        handle.Dispose();
        throw new IOException("the sandbox's agent sent something else than the socket it was asked for");
    }

    private static unsafe (SafeFileHandle Ours, SafeFileHandle Theirs) Pair()
    {
        var ends = stackalloc int[2];
        return LibC.SocketPair(LibC.UnixFamily, LibC.SockStream | LibC.SockCloseOnExec, 0, ends) == 0
            ? (new SafeFileHandle(ends[0], ownsHandle: true), new SafeFileHandle(ends[1], ownsHandle: true))
            : throw NativeException.Last("socketpair");
    }

    private static unsafe int Receive(SafeFileHandle way)
    {
        // struct cmsghdr { size_t len; int level; int type; int fds[]; } with room for one: the kernel closes any more.
        const int controlLength = 16 + 4;
        var control = stackalloc byte[controlLength + 4];
        byte nothing;
        var vector = new LibC.IoVector { Base = &nothing, Length = 1 };
        var message = new LibC.MessageHeader { Vectors = &vector, VectorCount = 1, Control = control, ControlLength = controlLength };
        if (LibC.ReceiveMessage(way, &message, LibC.DontWait | LibC.CloseReceivedOnExec) < 0 && Marshal.GetLastPInvokeError() is not LibC.EAgain)
        {
            throw NativeException.Last("recvmsg");
        }

        return message.ControlLength >= controlLength && *(ulong*)control == controlLength && *(int*)(control + 8) == SolSocket && *(int*)(control + 12) == Rights
            ? *(int*)(control + 16)
            : throw new IOException("the sandbox has no socket to give");
    }
}
