using System.Collections.Concurrent;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography.X509Certificates;

namespace InterpreterKernel.Sandbox.Http;

/// <summary>
/// The HTTP connections of a <see cref="SandboxConnection"/> and its copies, and what was learned about the services they
/// lead to. All pools compare equal, so that they don't take part in the equality of the record.
/// </summary>
internal sealed class LinkPool : IEquatable<LinkPool>
{
    private readonly ConcurrentDictionary<(string? Socket, string? Authorities), HttpMessageInvoker> _links = new();
    private readonly ConcurrentDictionary<(Uri Api, string Route), bool> _onlyFirstVersion = new();

    public HttpMessageInvoker For(SandboxConnection connection) =>
        _links.GetOrAdd((connection.UnixSocket, connection.CertificateAuthorityFile), static key => Make(key.Socket, key.Authorities));

    /// <summary>True: only v1 of the route is there; false: v2 is; null: not tried yet.</summary>
    public bool? HasOnlyFirstVersion(Uri api, string route) => _onlyFirstVersion.TryGetValue((api, route), out var only) ? only : null;

    public void Learn(Uri api, string route, bool onlyFirstVersion) => _onlyFirstVersion[(api, route)] = onlyFirstVersion;

    public bool Equals(LinkPool? other) => other is not null;

    public override bool Equals(object? obj) => obj is LinkPool;

    public override int GetHashCode() => 0;

    private static HttpMessageInvoker Make(string? socketPath, string? authorities)
    {
        var handler = new SocketsHttpHandler
        {
            AllowAutoRedirect = false, // a redirect would carry the key to somewhere else
            UseCookies = false,
            AutomaticDecompression = DecompressionMethods.None,
            ActivityHeadersPropagator = null,
            PooledConnectionIdleTimeout = TimeSpan.FromMinutes(1),
            PooledConnectionLifetime = TimeSpan.FromMinutes(15),
            ConnectTimeout = Timeout.InfiniteTimeSpan, // the request timeout rules, on its own clock

            // A stream that is given up closes its connection at once. Draining it would leave a subscriber that does not
            // read, and such a one stalls the process and all other subscribers (envd-behaviour.md, fact 3).
            MaxResponseDrainSize = 0,
            ResponseDrainTimeout = TimeSpan.Zero,
        };
        if (socketPath is not null)
        {
            handler.UseProxy = false;
            handler.ConnectCallback = (_, ct) => ConnectAsync(socketPath, ct);
        }
        else
        {
            handler.Proxy = new ProxyExceptLoopback(HttpClient.DefaultProxy);
        }

        if (authorities is not null)
        {
            handler.SslOptions.RemoteCertificateValidationCallback = Trusting(authorities);
        }

        // Not HttpClient: its one timeout for everything and its global default headers are of no use here.
        return new HttpMessageInvoker(handler);
    }

    private static async ValueTask<Stream> ConnectAsync(string path, CancellationToken ct)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), ct);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    // The system's authorities are asked first, so that a private one is an addition and not a replacement.
    private static RemoteCertificateValidationCallback Trusting(string file)
    {
        var own = new X509Certificate2Collection();
        try
        {
            own.ImportFromPemFile(file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or System.Security.Cryptography.CryptographicException)
        {
            throw new SandboxException(SandboxFault.InvalidRequest, $"The certificate authorities in {file} can't be read: {e.Message}", e);
        }

        return (_, certificate, chain, errors) =>
        {
            if (errors == SslPolicyErrors.None)
            {
                return true;
            }

            if (errors != SslPolicyErrors.RemoteCertificateChainErrors || certificate is not X509Certificate2 leaf)
            {
                return false;
            }

            using var again = new X509Chain();
            again.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
            again.ChainPolicy.CustomTrustStore.AddRange(own);
            again.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
            if (chain is not null)
            {
                again.ChainPolicy.ExtraStore.AddRange(chain.ChainPolicy.ExtraStore);
            }

            return again.Build(leaf);
        };
    }

    /// <summary>The proxy variables hold, but never for this very machine.</summary>
    private sealed class ProxyExceptLoopback(IWebProxy inner) : IWebProxy
    {
        public ICredentials? Credentials
        {
            get => inner.Credentials;
            set => inner.Credentials = value;
        }

        public Uri? GetProxy(Uri destination) => destination.IsLoopback ? null : inner.GetProxy(destination);

        public bool IsBypassed(Uri host) => host.IsLoopback || inner.IsBypassed(host);
    }
}
