using System.Diagnostics;
using System.Text;
using InterpreterKernel.Protocol.Jupyter;
using InterpreterKernel.Protocol.ZeroMq;

namespace InterpreterKernel.Kernel.Tests.Jupyter;

/// <summary>A Jupyter client in a context of its own: sockets as jupyter_client makes them, one identity for shell, control and stdin.</summary>
internal sealed class JupyterTestClient : IDisposable
{
    internal static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    private readonly ZeroMqContext _context = new();
    private readonly Dictionary<JupyterChannel, ZeroMqSocket> _sockets = [];
    private readonly ConnectionFile _file;
    private readonly byte[] _identity;

    internal JupyterTestClient(ConnectionFile file, string? identity = null, string? key = null)
    {
        _file = file;
        _identity = Encoding.ASCII.GetBytes(identity ?? Guid.NewGuid().ToString());
        Signer = new MessageSigner(file.Scheme, key ?? file.Key);
    }

    internal MessageSigner Signer { get; }

    internal static JupyterMessage Message(string type, string content = "{}", string id = "m") => new()
    {
        Header = Encoding.UTF8.GetBytes($$"""{"msg_id":"{{id}}","session":"s","username":"u","date":"2026-01-01T00:00:00.000000Z","msg_type":"{{type}}","version":"5.3"}"""),
        Content = Encoding.UTF8.GetBytes(content),
    };

    internal ZeroMqSocket Socket(JupyterChannel channel, int? receiveMark = null, string? topic = "")
    {
        if (_sockets.TryGetValue(channel, out var known))
        {
            return known;
        }

        var type = channel switch
        {
            JupyterChannel.Iopub => ZeroMqSocketType.Sub,
            JupyterChannel.Heartbeat => ZeroMqSocketType.Req,
            _ => ZeroMqSocketType.Dealer,
        };
        var socket = _context.CreateSocket(type);
        socket.Set(ZeroMqOption.Linger, 0);
        if (type == ZeroMqSocketType.Dealer)
        {
            socket.Set(ZeroMqOption.RoutingId, _identity);
            socket.Set(ZeroMqOption.SendHighWaterMark, 0);
        }

        if (receiveMark is { } mark)
        {
            socket.Set(ZeroMqOption.ReceiveHighWaterMark, mark);
        }

        if (_file is { CurvePublicKey: { } publicKey, CurveSecretKey: { } secretKey })
        {
            socket.Set(ZeroMqOption.CurveServerKey, Encoding.ASCII.GetBytes(publicKey));
            socket.Set(ZeroMqOption.CurvePublicKey, Encoding.ASCII.GetBytes(publicKey));
            socket.Set(ZeroMqOption.CurveSecretKey, Encoding.ASCII.GetBytes(secretKey));
        }

        if (type == ZeroMqSocketType.Sub)
        {
            socket.Set(ZeroMqOption.Subscribe, Encoding.UTF8.GetBytes(topic ?? ""));
        }

        socket.Connect(_file.EndpointOf(channel));
        _sockets.Add(channel, socket);
        return socket;
    }

    internal void Send(JupyterChannel channel, JupyterMessage message)
        => Socket(channel).TrySend(MessageFraming.ToFrames(message, Signer.Sign(message))).ShouldBeTrue();

    internal ReadOnlyMemory<byte>[]? TryReceiveFrames(JupyterChannel channel, TimeSpan limit)
    {
        var socket = Socket(channel);
        var poller = new ZeroMqPoller();
        poller.Add(socket);
        var since = Stopwatch.StartNew();
        while (true)
        {
            if (socket.TryReceive(out var frames) == ZeroMqReceived.Message)
            {
                return frames;
            }

            var left = limit - since.Elapsed;
            if (left <= TimeSpan.Zero)
            {
                return null;
            }

            poller.Wait((int)left.TotalMilliseconds + 1); // which a signal to this thread ends early
        }
    }

    /// <summary>The next message, its signature checked. Probes, by which a test learns that another client listens, are passed over.</summary>
    internal JupyterMessage Receive(JupyterChannel channel)
    {
        while (true)
        {
            var frames = TryReceiveFrames(channel, Limit).ShouldNotBeNull();
            MessageFraming.TryRead(frames, out var message, out var signature, out var fault).ShouldBeTrue(fault);
            Signer.Verify(message!, signature.Span).ShouldBeTrue();
            if (message!.MessageType != "probe")
            {
                return message;
            }
        }
    }

    internal JupyterMessage Ask(JupyterChannel channel, JupyterMessage request)
    {
        Send(channel, request);
        return Receive(channel);
    }

    public void Dispose()
    {
        foreach (var socket in _sockets.Values)
        {
            socket.Dispose();
        }

        _context.Dispose();
        Signer.Dispose();
    }
}
