using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using InterpreterKernel.SandboxHost.Sandboxes;
using Microsoft.AspNetCore.Http;

namespace InterpreterKernel.SandboxHost.Envd;

/// <summary>
/// Who may call a sandbox's envd: those who send its token, and for <c>/files</c> those who were given a signed address
/// (e2b-wire.md sections 4.2 and 4.4). Signatures are
/// <code>
/// "v1_" + base64 without padding of SHA-256 of  path:operation:user:token[:expiration]
/// </code>
/// where operation is <c>read</c> or <c>write</c>, and path, user and expiration are what the query says, word for word.
/// </summary>
internal static class EnvdAccess
{
    private const string TokenHeader = "X-Access-Token";

    internal static bool HasToken(HttpRequest request, LocalSandbox sandbox) => Same(request.Headers[TokenHeader].ToString(), sandbox.AccessToken);

    /// <summary>Why a request for <c>/files</c> is refused, in envd's words; null when it may go on.</summary>
    internal static string? RefuseFiles(HttpRequest request, LocalSandbox sandbox)
    {
        if (request.Headers[TokenHeader].Count > 0)
        {
            return HasToken(request, sandbox) ? null : "access token present in header but does not match";
        }

        if (!request.Query.ContainsKey("signature"))
        {
            return "missing signature query parameter";
        }

        if (!IsSignedFor(request, sandbox))
        {
            return "invalid signature";
        }

        return Expiration(request) is { } text
            && (!long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var end) || end < sandbox.Time.GetUtcNow().ToUnixTimeSeconds())
            ? "signature is already expired"
            : null;
    }

    /// <summary>Whether the query's signature was made with this sandbox's token, expired or not.</summary>
    internal static bool IsSignedFor(HttpRequest request, LocalSandbox sandbox)
    {
        var operation = request.Method == "GET" ? "read" : "write";
        var text = $"{request.Query["path"]}:{operation}:{request.Query["username"]}:{sandbox.AccessToken}";
        if (Expiration(request) is { } expiration)
        {
            text += ":" + expiration;
        }

        var right = "v1_" + Convert.ToBase64String(SHA256.HashData(Encoding.UTF8.GetBytes(text))).TrimEnd('=');
        return Same(request.Query["signature"].ToString(), right);
    }

    private static string? Expiration(HttpRequest request) => request.Query.TryGetValue("signature_expiration", out var value) ? value.ToString() : null;

    private static bool Same(string given, string right) => CryptographicOperations.FixedTimeEquals(Encoding.UTF8.GetBytes(given), Encoding.UTF8.GetBytes(right));
}
