using System.Collections.Concurrent;
using System.Text;
using InterpreterKernel.Kernel.Jupyter;
using InterpreterKernel.Protocol.Jupyter;
using InterpreterKernel.Protocol.ZeroMq;

namespace InterpreterKernel.Kernel.Tests.Jupyter;

/// <summary>Sockets whose kernel answers each request with its own content, until a test says otherwise.</summary>
internal sealed class SocketsFixture : IAsyncDisposable
{
    private readonly List<JupyterTestClient> _clients = [];
    private readonly SemaphoreSlim _told = new(0);
    private readonly string _directory = Directory.CreateTempSubdirectory("ik-ipc-").FullName;

    internal SocketsFixture(
        JupyterTransport transport = JupyterTransport.Tcp,
        string key = "key",
        SignatureScheme scheme = SignatureScheme.HmacSha256,
        CurveKeyPair? curve = null,
        JupyterSocketsOptions? options = null)
    {
        // An own loopback address each: the ports are then free whatever else runs here.
        var ip = $"127.{Random.Shared.Next(1, 255)}.{Random.Shared.Next(256)}.{Random.Shared.Next(1, 255)}";
        File = new ConnectionFile
        {
            Transport = transport,
            Ip = transport == JupyterTransport.Ipc ? Path.Combine(_directory, "k") : ip,
            ShellPort = 20001,
            IopubPort = 20002,
            StdinPort = 20003,
            ControlPort = 20004,
            HeartbeatPort = 20005,
            Key = key,
            Scheme = scheme,
            CurvePublicKey = curve?.PublicKey,
            CurveSecretKey = curve?.SecretKey,
        };
        OnMessage = (channel, request) => Sockets!.Send(channel, ReplyTo(request));
        Sockets = JupyterSockets.Bind(File, options ?? new JupyterSocketsOptions(), (c, m) => OnMessage(c, m), Told);
    }

    internal ConnectionFile File { get; }

    internal JupyterSockets Sockets { get; }

    internal Action<JupyterChannel, JupyterMessage> OnMessage { get; set; }

    internal ConcurrentQueue<string> Log { get; } = new();

    internal string[] IpcFiles => Directory.GetFileSystemEntries(_directory);

    internal static JupyterMessage ReplyTo(JupyterMessage request) => new()
    {
        Identities = request.Identities,
        Header = Encoding.UTF8.GetBytes($$"""{"msg_id":"{{Guid.NewGuid()}}","msg_type":"reply","session":"k"}"""),
        ParentHeader = request.Header,
        Content = request.Content,
        Buffers = request.Buffers,
    };

    internal static JupyterMessage Output(int number, int size = 0) => new()
    {
        Identities = ["stream.stdout"u8.ToArray()],
        Header = Encoding.UTF8.GetBytes($$"""{"msg_id":"{{number}}","msg_type":"stream","session":"k"}"""),
        Content = Encoding.UTF8.GetBytes($$"""{"name":"stdout","text":"{{new string('x', size)}}"}"""),
    };

    /// <summary>Done when the log has so many lines that contain <paramref name="text"/>.</summary>
    internal async Task LoggedAsync(string text, int count)
    {
        while (Log.Count(line => line.Contains(text, StringComparison.Ordinal)) < count)
        {
            (await _told.WaitAsync(JupyterTestClient.Limit)).ShouldBeTrue($"'{text}' was never logged");
        }
    }

    internal JupyterTestClient Client(string? identity = null, string? key = null)
    {
        var client = new JupyterTestClient(File, identity, key);
        _clients.Add(client);
        return client;
    }

    /// <summary>A client of which the sockets know that it listens.</summary>
    internal JupyterTestClient Subscriber(int? receiveMark = null)
    {
        var client = Client();
        client.Socket(JupyterChannel.Iopub, receiveMark);
        for (var i = 0; i < 600; i++)
        {
            Sockets.Send(JupyterChannel.Iopub, JupyterTestClient.Message("probe"));
            if (client.TryReceiveFrames(JupyterChannel.Iopub, TimeSpan.FromMilliseconds(50)) is not null)
            {
                while (client.TryReceiveFrames(JupyterChannel.Iopub, TimeSpan.FromMilliseconds(50)) is not null)
                {
                    // Further probes that were on their way.
                }

                return client;
            }
        }

        throw new TimeoutException("the subscription never took effect");
    }

    private void Told(string line)
    {
        Log.Enqueue(line);
        _told.Release();
    }

    public async ValueTask DisposeAsync()
    {
        _clients.ForEach(client => client.Dispose());
        await Sockets.DisposeAsync();
        _told.Dispose();
        Directory.Delete(_directory, recursive: true);
    }
}
