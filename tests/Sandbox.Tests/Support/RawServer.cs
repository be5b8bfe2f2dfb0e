using System.Net;
using System.Net.Sockets;
using System.Text;

namespace InterpreterKernel.Sandbox.Tests.Support;

/// <summary>A server that speaks no HTTP of its own: for answers that no proper server would give.</summary>
public sealed class RawServer : IAsyncDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly CancellationTokenSource _stop = new();
    private readonly Func<string, NetworkStream, CancellationToken, Task> _serve;
    private readonly Task _loop;
    private readonly List<Task> _connections = [];

    /// <param name="serve">Given the head of each request, writes what it likes; the connection is reset when it returns.</param>
    public RawServer(Func<string, NetworkStream, CancellationToken, Task> serve)
    {
        _serve = serve;
        _listener.Start();
        var url = new Uri($"http://127.0.0.1:{((IPEndPoint)_listener.LocalEndpoint).Port}");
        Connection = new SandboxConnection { ApiKey = FakeService.Key, ApiUrl = url, SandboxUrl = url };
        _loop = AcceptAsync();
    }

    public SandboxConnection Connection { get; init; }

    /// <summary>Completes when the first request has come.</summary>
    public TaskCompletionSource Asked { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        _listener.Stop();
        await _loop;
        await Task.WhenAll(_connections);
        _stop.Dispose();
    }

    private async Task AcceptAsync()
    {
        while (!_stop.IsCancellationRequested)
        {
            try
            {
                _connections.Add(ServeAsync(await _listener.AcceptTcpClientAsync(_stop.Token)));
            }
            catch (Exception e) when (e is OperationCanceledException or SocketException)
            {
                return; // stopped
            }
        }
    }

    private async Task ServeAsync(TcpClient client)
    {
        using (client)
        {
            client.NoDelay = true;
            client.LingerState = new LingerOption(true, 0); // a reset, as when a sandbox is killed
            var head = new StringBuilder();
            var one = new byte[1];
            try
            {
                while (!head.ToString().EndsWith("\r\n\r\n", StringComparison.Ordinal))
                {
                    if (await client.GetStream().ReadAsync(one, _stop.Token) == 0)
                    {
                        return;
                    }

                    head.Append((char)one[0]);
                }

                Asked.TrySetResult();
                await _serve(head.ToString(), client.GetStream(), _stop.Token);
            }
            catch (Exception e) when (e is IOException or OperationCanceledException)
            {
                return; // the client left, or the test is over
            }
        }
    }
}
