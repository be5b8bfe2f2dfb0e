using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace InterpreterKernel.SandboxHost.Http;

/// <summary>
/// Kestrel and one request handler, without the host builder, configuration, routing and dependency injection around
/// them: this runs inside the per-user broker, where start-up time and memory count.
/// </summary>
internal sealed class HostServer : IAsyncDisposable
{
    private static readonly TimeSpan s_idle = TimeSpan.FromSeconds(640);
    private static readonly TimeSpan s_stop = TimeSpan.FromSeconds(2);

    private readonly KestrelServer _server;

    private HostServer(KestrelServer server)
    {
        _server = server;
    }

    /// <summary>Where it listens, with the port that was chosen.</summary>
    internal IReadOnlyCollection<string> Addresses => [.. _server.Features.Get<IServerAddressesFeature>()?.Addresses ?? []];

    internal static async Task<HostServer> StartAsync(SandboxHostOptions options, RequestDelegate handler, ILoggerFactory loggers, CancellationToken cancellation)
    {
        var kestrel = new KestrelServerOptions { AddServerHeader = false, AllowSynchronousIO = false };
        kestrel.Limits.KeepAliveTimeout = s_idle;

        // Streams may be silent, and uploads as slow as they like; their sizes are bounded where they are read.
        kestrel.Limits.MaxRequestBodySize = null;
        kestrel.Limits.MinRequestBodyDataRate = null;
        kestrel.Limits.MinResponseDataRate = null;
        kestrel.Limits.MaxConcurrentConnections = 4096;

        // What a server inside a sandbox says goes out as it came, whatever its bytes.
        kestrel.ResponseHeaderEncodingSelector = static _ => System.Text.Encoding.Latin1;
        kestrel.ApplicationServices = NoServices.Instance;
        if (options.UnixSocket is { } socket)
        {
            File.Delete(socket);
            kestrel.ListenUnixSocket(socket, listen => listen.Protocols = HttpProtocols.Http1);
        }

        if (options.ListenUrl is { } url)
        {
            kestrel.Listen(options.ListenHost()!, url.Port, listen => listen.Protocols = HttpProtocols.Http1);
        }

        var sockets = new SocketTransportOptions { NoDelay = true };
        LargeBlocks.Use(sockets);
        var transport = new SocketTransportFactory(Options.Create(sockets), loggers);
        var server = new KestrelServer(Options.Create(kestrel), transport, loggers);
        try
        {
            await server.StartAsync(new Application(handler), cancellation);
            if (options.UnixSocket is not null)
            {
                File.SetUnixFileMode(options.UnixSocket, UnixFileMode.UserRead | UnixFileMode.UserWrite);
            }
        }
        catch (Exception e)
        {
            server.Dispose();
            if (e is IOException or System.Net.Sockets.SocketException)
            {
                throw new SandboxHostException(SandboxHostFault.Options, $"can't listen on {options.UnixSocket ?? options.ListenUrl!.ToString()}: {e.Message}", e);
            }

            throw;
        }

        return new HostServer(server);
    }

    public async ValueTask DisposeAsync()
    {
        using var patience = new CancellationTokenSource(s_stop);
        await _server.StopAsync(patience.Token);
        _server.Dispose();
    }

    private sealed class Application(RequestDelegate handler) : IHttpApplication<HttpContext>
    {
        public HttpContext CreateContext(IFeatureCollection contextFeatures) => new DefaultHttpContext(contextFeatures);

        public Task ProcessRequestAsync(HttpContext context) => handler(context);

        public void DisposeContext(HttpContext context, Exception? exception)
        {
        }
    }

    /// <summary>Kestrel asks for optional services; there are none.</summary>
    private sealed class NoServices : IServiceProvider
    {
        internal static NoServices Instance { get; } = new();

        public object? GetService(Type serviceType) => null;
    }
}
