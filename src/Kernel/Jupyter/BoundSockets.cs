using System.Text;
using InterpreterKernel.Protocol.Jupyter;
using InterpreterKernel.Protocol.ZeroMq;

namespace InterpreterKernel.Kernel.Jupyter;

/// <summary>The five sockets of a connection file, bound. All five are, or none.</summary>
internal sealed class BoundSockets : IDisposable
{
    /// <summary>
    /// Messages that libzmq holds for one iopub client before its queue counts as full. Small, because messages may be
    /// large and the rest waits in our own spool, where its bytes are counted.
    /// </summary>
    internal const int IopubHighWaterMark = 256;

    // A subscription is a few bytes, and a ping too: nobody needs to send us more there.
    private const long SmallMessage = 1L << 20;

    private static readonly (JupyterChannel Channel, ZeroMqSocketType Type)[] s_table =
    [
        // VS Code probes the shell and iopub ports first.
        (JupyterChannel.Shell, ZeroMqSocketType.Router),
        (JupyterChannel.Iopub, ZeroMqSocketType.XPub),
        (JupyterChannel.Control, ZeroMqSocketType.Router),
        (JupyterChannel.Stdin, ZeroMqSocketType.Router),

        // Not a REP: its state of "must answer first" is one that a peer with broken requests can leave it in.
        (JupyterChannel.Heartbeat, ZeroMqSocketType.Router),
    ];

    private static readonly TimeSpan s_bindPause = TimeSpan.FromMilliseconds(50);

    private readonly ZeroMqContext _context = new();
    private readonly Dictionary<JupyterChannel, ZeroMqSocket> _sockets = [];

    private readonly List<string> _ipcFiles = [];

    private BoundSockets()
    {
    }

    internal ZeroMqSocket this[JupyterChannel channel] => _sockets[channel];

    /// <summary>Binds all five, in this order.</summary>
    /// <exception cref="JupyterBindException">One can't be bound.</exception>
    /// <exception cref="ZeroMqException">There is no usable libzmq.</exception>
    internal static BoundSockets Bind(ConnectionFile file, JupyterSocketsOptions options)
    {
        ZeroMqLibrary.EnsureLoaded();
        if (file.IsEncrypted && !ZeroMqLibrary.HasCurve)
        {
            throw new ZeroMqException(
                ZeroMqFault.NotSupported,
                $"The connection file asks for encryption, and the libzmq at {ZeroMqLibrary.Location} has no CURVE. Install another build of it "
                + "(Debian's libzmq5 has it), or set KernelManager.transport_encryption to 'disabled'.");
        }

        var bound = new BoundSockets();
        foreach (var (channel, type) in s_table)
        {
            try
            {
                bound.Add(channel, type, file, options);
            }
            catch (ZeroMqException e)
            {
                bound.Dispose();
                throw new JupyterBindException(channel, file.EndpointOf(channel), e);
            }
        }

        return bound;
    }

    public void Dispose() => Close(TimeSpan.Zero);

    /// <summary>Closes whatever is still open, waiting up to <paramref name="linger"/> for messages to leave.</summary>
    internal void Close(TimeSpan linger)
    {
        // libzmq leaves the files of its ipc sockets behind. They go first: once we are closed, they may be a successor's.
        foreach (var path in _ipcFiles)
        {
            File.Delete(path);
        }

        _ipcFiles.Clear();
        foreach (var socket in _sockets.Values)
        {
            socket.Set(ZeroMqOption.Linger, (int)linger.TotalMilliseconds);
            socket.Dispose();
        }

        _sockets.Clear();
        _context.Dispose();
    }

    private void Add(JupyterChannel channel, ZeroMqSocketType type, ConnectionFile file, JupyterSocketsOptions options)
    {
        var isSmall = channel is JupyterChannel.Iopub or JupyterChannel.Heartbeat;
        var largest = isSmall ? SmallMessage : options.MaxMessageBytes;
        var socket = _context.CreateSocket(type, largest);
        _sockets.Add(channel, socket);

        // Without this a process that fails would hang in closing its context for ever.
        socket.Set(ZeroMqOption.Linger, 0);
        socket.Set(ZeroMqOption.MaxMessageSize, largest);

        // A client on another machine may vanish without a word; the probes notice.
        socket.Set(ZeroMqOption.TcpKeepalive, 1);
        if (file.Ip.Contains(':'))
        {
            socket.Set(ZeroMqOption.Ipv6, 1);
        }

        if (type == ZeroMqSocketType.Router)
        {
            // A reconnecting client takes its identity over.
            socket.Set(ZeroMqOption.RouterHandover, 1);
        }

        if (!isSmall)
        {
            // Replies are never dropped for their number.
            socket.Set(ZeroMqOption.SendHighWaterMark, 0);
        }

        if (channel == JupyterChannel.Iopub)
        {
            socket.Set(ZeroMqOption.SendHighWaterMark, IopubHighWaterMark);
            socket.Set(ZeroMqOption.XPubNoDrop, 1);
            socket.Set(ZeroMqOption.XPubVerboser, 1);
        }

        if (file is { CurvePublicKey: { } publicKey, CurveSecretKey: { } secretKey })
        {
            socket.Set(ZeroMqOption.CurveServer, 1);
            socket.Set(ZeroMqOption.CurvePublicKey, Encoding.ASCII.GetBytes(publicKey));
            socket.Set(ZeroMqOption.CurveSecretKey, Encoding.ASCII.GetBytes(secretKey));
        }

        Bind(socket, file.EndpointOf(channel), options.BindPatience);
        if (file.Transport == JupyterTransport.Ipc)
        {
            _ipcFiles.Add(file.EndpointOf(channel)["ipc://".Length..]);
        }
    }

    /// <summary>
    /// Jupyter chose the ports and let go of them: until now they were anybody's, such as a connection's that is about to end. Most
    /// often the port is free again in a moment, and a kernel that gave up at once would be the notebook's failure.
    /// </summary>
    private static void Bind(ZeroMqSocket socket, string endpoint, TimeSpan patience)
    {
        for (var left = patience; ; left -= s_bindPause)
        {
            try
            {
                socket.Bind(endpoint);
                return;
            }
            catch (ZeroMqException e) when (e.Reason == ZeroMqFault.AddressInUse && left > TimeSpan.Zero)
            {
                // Nothing tells when a port is free; and nobody waits for this thread yet, the process has no other work before it.
                Thread.Sleep(s_bindPause);
            }
        }
    }
}
