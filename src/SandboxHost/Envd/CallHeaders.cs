using System.Globalization;
using System.Text;
using InterpreterKernel.Protocol.Connect;
using Microsoft.AspNetCore.Http;

namespace InterpreterKernel.SandboxHost.Envd;

/// <summary>The headers that change what a call does (e2b-wire.md sections 3 and 4.2).</summary>
internal static class CallHeaders
{
    internal static readonly TimeSpan DefaultKeepAlive = TimeSpan.FromSeconds(90);

    /// <summary>
    /// Ours, and over the host's own unix socket only: asks that the process's standard input be a socket that listens (any value), and
    /// tells where it does.
    /// </summary>
    internal const string Socket = "Interpreter-Kernel-Socket";

    private const int MaxDigits = 10;

    /// <summary><c>Connect-Timeout-Ms</c>: null when absent; zero is a deadline that has passed.</summary>
    internal static TimeSpan? Timeout(IHeaderDictionary headers)
    {
        if (headers["Connect-Timeout-Ms"].ToString() is not { Length: > 0 } text)
        {
            return null;
        }

        if (text.Length > MaxDigits || !text.All(char.IsAsciiDigit))
        {
            throw new ConnectException(ConnectCode.InvalidArgument, $"protocol error: invalid timeout \"{text[..Math.Min(text.Length, 20)]}\"");
        }

        // Ten digits are 115 days; timers take 49.
        return TimeSpan.FromMilliseconds(Math.Min(long.Parse(text, CultureInfo.InvariantCulture), int.MaxValue));
    }

    /// <summary><c>Keepalive-Ping-Interval</c> in seconds: after so much silence a keepalive event is sent. Nonsense means 90.</summary>
    internal static TimeSpan KeepAlive(IHeaderDictionary headers) =>
        int.TryParse(headers["Keepalive-Ping-Interval"].ToString(), CultureInfo.InvariantCulture, out var seconds) && seconds > 0
            ? TimeSpan.FromSeconds(Math.Min(seconds, 24 * 3600))
            : DefaultKeepAlive;

    /// <summary>The user that is named, by HTTP Basic with an empty password; null when none is.</summary>
    internal static string? User(IHeaderDictionary headers)
    {
        var header = headers.Authorization.ToString();
        if (!header.StartsWith("Basic ", StringComparison.OrdinalIgnoreCase))
        {
            return null;
        }

        var bytes = new byte[header.Length];
        return Convert.TryFromBase64String(header["Basic ".Length..].Trim(), bytes, out var count)
            ? Encoding.UTF8.GetString(bytes, 0, count).Split(':')[0]
            : "";
    }

    /// <summary>
    /// Every sandbox has one user, <c>user</c>. E2B's have <c>root</c> as well, and programs ask for it to install packages
    /// and the like. Here that could only be a name: no process of a sandbox has any privilege, and the system is read-only.
    /// To run such a program as <c>user</c> all the same would make it fail later and in worse words, so it is told at once.
    /// </summary>
    /// <exception cref="ConnectException">Another user was named.</exception>
    internal static void RefuseStrangers(string? user)
    {
        if (Stranger(user) is { } refusal)
        {
            throw new ConnectException(ConnectCode.Unauthenticated, refusal);
        }
    }

    /// <summary>Why that user is refused; null when it is not.</summary>
    internal static string? Stranger(string? user) => user switch
    {
        null or "user" => null,
        "root" => "invalid username: 'root' (sandboxes of this host have one user, 'user', and no privileges)",
        _ => $"invalid username: '{user}'",
    };
}
