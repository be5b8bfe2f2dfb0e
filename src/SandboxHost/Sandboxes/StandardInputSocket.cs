using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace InterpreterKernel.SandboxHost.Sandboxes;

/// <summary>
/// A unix socket that listens, made to be a process's standard input. Who may pass through the host's own directories connects to it,
/// the process accepts, and their bytes do not go through this host at all. Disposal takes its name away, and turns away who was not
/// accepted.
/// </summary>
internal sealed class StandardInputSocket : IDisposable
{
    /// <summary>What a unix socket's address has room for, with its closing zero.</summary>
    private const int MaxPath = 108;

    private readonly Socket _listener;

    private StandardInputSocket(Socket listener, string path)
    {
        _listener = listener;
        Path = path;
        Handle = new SafeFileHandle(listener.Handle, ownsHandle: false);
    }

    internal string Path { get; }

    /// <summary>To be handed over; stays ours.</summary>
    internal SafeFileHandle Handle { get; }

    /// <summary>Listens in a directory; null where its name is too long for that.</summary>
    internal static StandardInputSocket? TryListen(string directory)
    {
        var path = System.IO.Path.Combine(directory, RandomNumberGenerator.GetHexString(8, lowercase: true));
        if (Encoding.UTF8.GetByteCount(path) >= MaxPath)
        {
            return null;
        }

        var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            listener.Bind(new UnixDomainSocketEndPoint(path));
            listener.Listen(1);
            return new StandardInputSocket(listener, path);
        }
        catch
        {
            listener.Dispose();
            throw;
        }
    }

    public void Dispose()
    {
        Handle.Dispose();
        _listener.Dispose();
    }
}
