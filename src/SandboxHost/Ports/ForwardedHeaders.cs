using System.Net.Http.Headers;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Primitives;

namespace InterpreterKernel.SandboxHost.Ports;

/// <summary>Which headers pass between a client and a server in a sandbox: all but those about one connection (RFC 9110, 7.6.1).</summary>
internal static class ForwardedHeaders
{
    /// <summary>The token for sandboxes whose ports are not public; their servers need not know it.</summary>
    internal const string TrafficToken = "e2b-traffic-access-token";

    // Expect is answered by Kestrel when the body is first read; the content's own are set from what is really sent.
    private static readonly HashSet<string> s_connection = new(StringComparer.OrdinalIgnoreCase)
    {
        "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Expect",
        TrafficToken,
    };

    internal static void CopyRequest(HttpRequest from, HttpRequestMessage to)
    {
        var named = Named(from.Headers.Connection);
        foreach (var (name, values) in from.Headers)
        {
            if (s_connection.Contains(name) || named.Contains(name))
            {
                continue;
            }

            if (!to.Headers.TryAddWithoutValidation(name, (IEnumerable<string?>)values))
            {
                to.Content?.Headers.TryAddWithoutValidation(name, (IEnumerable<string?>)values);
            }
        }
    }

    /// <exception cref="InvalidOperationException">A header has characters that none may have.</exception>
    internal static void CopyResponse(HttpResponseMessage from, HttpResponse to)
    {
        var named = from.Headers.NonValidated.TryGetValues("Connection", out var connection) ? Named(connection.ToArray()) : [];
        foreach (var (name, values) in from.Headers.NonValidated)
        {
            Set(name, values);
        }

        foreach (var (name, values) in from.Content.Headers.NonValidated)
        {
            // Of a body with both, the chunks are what counts.
            if (from.Headers.TransferEncodingChunked != true || !name.Equals("Content-Length", StringComparison.OrdinalIgnoreCase))
            {
                Set(name, values);
            }
        }

        void Set(string name, HeaderStringValues values)
        {
            if (!s_connection.Contains(name) && !named.Contains(name))
            {
                to.Headers[name] = new StringValues(values.ToArray());
            }
        }
    }

    private static HashSet<string> Named(StringValues connection) =>
        new(connection.SelectMany(value => (value ?? "").Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)), StringComparer.OrdinalIgnoreCase);
}
