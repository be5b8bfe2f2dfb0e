using System.Runtime.InteropServices;

namespace InterpreterKernel.Protocol.ZeroMq;

/// <summary>The functions of libzmq that we use, as its C header declares them.</summary>
internal static unsafe partial class LibZmq
{
    internal const string Name = "libzmq";
    internal const int DontWait = 1;
    internal const int SendMore = 2;
    internal const short PollIn = 1;

    // A static constructor, unlike an initialiser, is sure to run before the first call goes out.
    static LibZmq() => ZeroMqLibrary.Register();

    [LibraryImport(Name, EntryPoint = "zmq_version")]
    internal static partial void Version(out int major, out int minor, out int patch);

    [LibraryImport(Name, EntryPoint = "zmq_has", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int Has(string capability);

    [LibraryImport(Name, EntryPoint = "zmq_strerror")]
    internal static partial nint StrError(int errno);

    [LibraryImport(Name, EntryPoint = "zmq_ctx_new", SetLastError = true)]
    internal static partial nint ContextNew();

    [LibraryImport(Name, EntryPoint = "zmq_ctx_term", SetLastError = true)]
    internal static partial int ContextTerminate(nint context);

    [LibraryImport(Name, EntryPoint = "zmq_socket", SetLastError = true)]
    internal static partial nint Socket(ContextHandle context, int type);

    [LibraryImport(Name, EntryPoint = "zmq_close", SetLastError = true)]
    internal static partial int Close(nint socket);

    [LibraryImport(Name, EntryPoint = "zmq_setsockopt", SetLastError = true)]
    internal static partial int SetOption(SocketHandle socket, int option, void* value, nuint length);

    [LibraryImport(Name, EntryPoint = "zmq_getsockopt", SetLastError = true)]
    internal static partial int GetOption(SocketHandle socket, int option, void* value, nuint* length);

    [LibraryImport(Name, EntryPoint = "zmq_bind", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int Bind(SocketHandle socket, string endpoint);

    [LibraryImport(Name, EntryPoint = "zmq_connect", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int Connect(SocketHandle socket, string endpoint);

    [LibraryImport(Name, EntryPoint = "zmq_send", SetLastError = true)]
    internal static partial int Send(SocketHandle socket, void* data, nuint length, int flags);

    [LibraryImport(Name, EntryPoint = "zmq_msg_init_data", SetLastError = true)]
    internal static partial int MessageFromData(Message* message, void* data, nuint length, delegate* unmanaged<void*, void*, void> release, void* hint);

    [LibraryImport(Name, EntryPoint = "zmq_msg_init")]
    internal static partial void MessageInit(Message* message);

    [LibraryImport(Name, EntryPoint = "zmq_msg_send", SetLastError = true)]
    internal static partial int MessageSend(Message* message, SocketHandle socket, int flags);

    [LibraryImport(Name, EntryPoint = "zmq_msg_recv", SetLastError = true)]
    internal static partial int MessageReceive(Message* message, SocketHandle socket, int flags);

    [LibraryImport(Name, EntryPoint = "zmq_msg_close")]
    internal static partial void MessageClose(Message* message);

    [LibraryImport(Name, EntryPoint = "zmq_msg_data"), SuppressGCTransition]
    internal static partial void* MessageData(Message* message);

    [LibraryImport(Name, EntryPoint = "zmq_msg_size"), SuppressGCTransition]
    internal static partial nuint MessageSize(Message* message);

    [LibraryImport(Name, EntryPoint = "zmq_msg_more"), SuppressGCTransition]
    internal static partial int MessageMore(Message* message);

    [LibraryImport(Name, EntryPoint = "zmq_poll", SetLastError = true)]
    internal static partial int Poll(PollItem* items, int count, nint timeoutMilliseconds);

    [LibraryImport(Name, EntryPoint = "zmq_curve_keypair", SetLastError = true)]
    internal static partial int CurveKeyPair(byte* publicKey, byte* secretKey);

    /// <summary>zmq_msg_t: 64 bytes that only libzmq understands, aligned like a pointer.</summary>
    [StructLayout(LayoutKind.Sequential, Size = 64)]
    internal struct Message
    {
        private readonly ulong _opaque;
    }

    /// <summary>zmq_pollitem_t as Unix systems have it (on Windows the descriptor is wider).</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct PollItem
    {
        internal nint Socket;
        internal int Descriptor;
        internal short Events;
        internal short Returned;
    }
}
