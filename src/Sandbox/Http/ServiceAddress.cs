namespace InterpreterKernel.Sandbox.Http;

/// <summary>
/// Which address serves what (e2b-wire.md section 1.3):
/// <code>
/// control plane   unix socket | ApiUrl | debug: http://localhost:3000 | https://api.{domain}
/// envd            unix socket | SandboxUrl | debug: http://localhost:49983
///                 | https://sandbox.{domain} for E2B's own domains | https://49983-{id}.{domain}
/// direct          unix socket | SandboxUrl | debug: http://localhost:{port} | https://{port}-{id}.{domain}
/// </code>
/// The domain is the one in the answer to create or connect where it names one, else the configured one.
/// </summary>
internal static class ServiceAddress
{
    public const int EnvdPort = 49983;

    private static readonly string[] s_sharedHostDomains = ["e2b.app", "e2b.dev", "e2b.pro", "e2b-staging.dev"];

    public static Uri Api(SandboxConnection connection)
    {
        if (connection.UnixSocket is not null)
        {
            return new Uri("http://localhost/");
        }

        if (connection.ApiUrl is { } url)
        {
            return url;
        }

        return connection.Debug ? new Uri("http://localhost:3000/") : Build("https://api." + connection.Domain);
    }

    public static Uri Envd(SandboxConnection connection, string sandboxId, string? sandboxDomain)
    {
        var domain = DomainOf(connection, sandboxDomain);
        return Fixed(connection, EnvdPort)
            ?? (s_sharedHostDomains.Contains(domain) ? Build("https://sandbox." + domain) : Build($"https://{EnvdPort}-{sandboxId}.{domain}"));
    }

    public static Uri Direct(SandboxConnection connection, string sandboxId, string? sandboxDomain, int port) =>
        Fixed(connection, port) ?? Build($"https://{port}-{sandboxId}.{DomainOf(connection, sandboxDomain)}");

    public static string Host(SandboxConnection connection, string sandboxId, string? sandboxDomain, int port) =>
        connection.Debug ? $"localhost:{port}" : $"{port}-{sandboxId}.{DomainOf(connection, sandboxDomain)}";

    /// <summary>The address of <paramref name="path"/> (which begins with a slash) below a base that may have a path itself.</summary>
    public static Uri At(Uri root, string path) => new(root.GetLeftPart(UriPartial.Path).TrimEnd('/') + path);

    /// <summary>An address as it may be shown: no user, no password, no query.</summary>
    public static string Shown(Uri uri) => uri.GetComponents(UriComponents.SchemeAndServer | UriComponents.Path, UriFormat.UriEscaped).TrimEnd('/');

    public static string? FaultOf(Uri uri) => uri switch
    {
        { IsAbsoluteUri: false } => "it is not absolute",
        _ when uri.Scheme != Uri.UriSchemeHttp && uri.Scheme != Uri.UriSchemeHttps => "it is neither http nor https",
        { UserInfo.Length: > 0 } => "it holds a user name; keys go into the API key",
        { Query.Length: > 0 } or { Fragment.Length: > 0 } => "it holds a query",
        _ => null,
    };

    public static bool IsDomain(string text) =>
        Uri.CheckHostName(text) is UriHostNameType.Dns or UriHostNameType.IPv4
        || (text.LastIndexOf(':') is > 0 and var colon
            && Uri.CheckHostName(text[..colon]) is UriHostNameType.Dns or UriHostNameType.IPv4
            && ushort.TryParse(text.AsSpan(colon + 1), out _));

    /// <summary>An id that can safely be part of a path, a host name and a header.</summary>
    public static bool IsSandboxId(string? text) =>
        text is { Length: > 0 and <= 128 } && text.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_');

    public static string CheckedId(string? id) => IsSandboxId(id)
        ? id!
        : throw new SandboxException(SandboxFault.InvalidRequest, "That is not a sandbox id: ids are made of letters, digits, '-' and '_'.");

    private static string DomainOf(SandboxConnection connection, string? sandboxDomain) =>
        string.IsNullOrEmpty(sandboxDomain) ? connection.Domain : sandboxDomain;

    private static Uri? Fixed(SandboxConnection connection, int port)
    {
        if (connection.UnixSocket is not null)
        {
            return new Uri("http://localhost/");
        }

        return connection.SandboxUrl ?? (connection.Debug ? new Uri($"http://localhost:{port}/") : null);
    }

    private static Uri Build(string text) => Uri.TryCreate(text, UriKind.Absolute, out var uri)
        ? uri
        : throw new SandboxException(SandboxFault.InvalidRequest, "The domain of the sandbox service is not a domain name; look at E2B_DOMAIN.");
}
