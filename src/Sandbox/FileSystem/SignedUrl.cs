using System.Security.Cryptography;
using System.Text;
using InterpreterKernel.Sandbox.Http;

namespace InterpreterKernel.Sandbox.FileSystem;

/// <summary>
/// Addresses by which a file is read or written without a token (e2b-wire.md section 4.4):
/// <c>"v1_" + base64(SHA256(path:operation:user:token[:expiry]))</c>, without padding. Made here, without a request.
/// </summary>
internal static class SignedUrl
{
    public static Uri Make(EnvdClient envd, string path, string operation, string? user, TimeSpan? lifetime)
    {
        if (envd.Connection.UnixSocket is not null)
        {
            throw new SandboxException(SandboxFault.Unsupported, "This sandbox is reached over a unix socket; no address leads there.");
        }

        var name = envd.UserFor(user);
        var query = FileTransfer.Query(path, name);
        if (envd.Token is { } token)
        {
            long? expiry = lifetime is { } time ? (envd.Connection.TimeProvider.GetUtcNow() + time).ToUnixTimeSeconds() : null;
            query += "&signature=" + Uri.EscapeDataString(Sign(path, operation, name, token, expiry));
            query += expiry is null ? "" : $"&signature_expiration={expiry}";
        }

        var root = ServiceAddress.Direct(envd.Connection, envd.SandboxId, envd.Domain, ServiceAddress.EnvdPort);
        return ServiceAddress.At(root, "/files" + query);
    }

    public static string Sign(string path, string operation, string? user, string token, long? expiry)
    {
        var text = $"{path}:{operation}:{user}:{token}" + (expiry is null ? "" : $":{expiry}");
        return "v1_" + Convert.ToBase64String(SHA256.HashData(Encoding.UTF8.GetBytes(text))).TrimEnd('=');
    }
}
