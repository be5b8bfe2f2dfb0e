using System.Text;
using InterpreterKernel.Sandbox.Http;

namespace InterpreterKernel.Sandbox;

/// <summary>
/// Where the sandbox service is, and who we are. Defaults and meanings are those of E2B's SDKs.
/// </summary>
/// <remarks>
/// A connection also owns the pooled HTTP connections and what was learned about the service (whether it has the v2
/// routes). Copies made by <c>with</c> share both, so keep one and pass it around. Idle HTTP connections close by
/// themselves after a minute; there is nothing to dispose.
/// </remarks>
public sealed record SandboxConnection
{
    /// <summary>The domain when nothing else is said.</summary>
    public const string DefaultDomain = "e2b.app";

    // Compares equal to every other pool: what was learned is no part of the value of a connection.
    private readonly LinkPool _links = new();

    /// <summary>The API key, in any form. Not needed over a unix socket or in debug mode.</summary>
    public string? ApiKey { get; init; }

    /// <summary>The domain of the service. Default: <c>e2b.app</c>.</summary>
    public string Domain { get; init; } = DefaultDomain;

    /// <summary>Base address of the control plane. Default: <c>https://api.{Domain}</c>.</summary>
    public Uri? ApiUrl { get; init; }

    /// <summary>Base address of every sandbox; they then differ only by their routing headers. Default: by domain.</summary>
    public Uri? SandboxUrl { get; init; }

    /// <summary>Debug mode: no control plane, one sandbox on localhost (envd on port 49983).</summary>
    public bool Debug { get; init; }

    /// <summary>Path of a unix socket that serves both planes. Wins over all addresses.</summary>
    public string? UnixSocket { get; init; }

    /// <summary>A PEM file of certificate authorities to trust besides the system's.</summary>
    public string? CertificateAuthorityFile { get; init; }

    /// <summary>
    /// How long a request may take: a call of the control plane, connecting a stream up to its first event, a file
    /// write, the wait for the next piece of a file read. Default: 60 s; zero or infinite means no limit.
    /// </summary>
    public TimeSpan RequestTimeout { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>
    /// How often a silent stream must show a sign of life. A stream that is silent for two and a half times as long
    /// counts as dead. Default: 20 s; whole seconds, at least one.
    /// </summary>
    public TimeSpan KeepaliveInterval { get; init; } = TimeSpan.FromSeconds(20);

    /// <summary>The clock for all timeouts.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    internal LinkPool Links => _links;

    /// <summary>
    /// Reads <c>E2B_API_KEY</c>, <c>E2B_DOMAIN</c>, <c>E2B_API_URL</c>, <c>E2B_SANDBOX_URL</c> and <c>E2B_DEBUG</c>; empty
    /// means not set.
    /// </summary>
    /// <param name="env">The variables to read; null for those of this process.</param>
    /// <exception cref="SandboxException">Some are wrong; the text names them all.</exception>
    public static SandboxConnection FromEnvironment(IReadOnlyDictionary<string, string?>? env = null)
    {
        string? Read(string name)
        {
            var value = env is null ? Environment.GetEnvironmentVariable(name) : env.GetValueOrDefault(name);
            return string.IsNullOrWhiteSpace(value) ? null : value.Trim();
        }

        var faults = new List<string>();
        Uri? Address(string name)
        {
            if (Read(name) is not { } text)
            {
                return null;
            }

            if (Uri.TryCreate(text, UriKind.Absolute, out var uri) && ServiceAddress.FaultOf(uri) is null)
            {
                return uri;
            }

            // The value itself stays out of the text: an address may carry a password.
            faults.Add($"{name} must be an http or https address, such as http://127.0.0.1:3000");
            return null;
        }

        var connection = new SandboxConnection
        {
            ApiKey = Read("E2B_API_KEY"),
            Domain = Read("E2B_DOMAIN") ?? DefaultDomain,
            ApiUrl = Address("E2B_API_URL"),
            SandboxUrl = Address("E2B_SANDBOX_URL"),
            Debug = Read("E2B_DEBUG") is { } debug && (debug.Equals("true", StringComparison.OrdinalIgnoreCase) || debug == "1"),
        };
        if (!ServiceAddress.IsDomain(connection.Domain))
        {
            faults.Add("E2B_DOMAIN must be a domain name, such as e2b.app");
        }

        if (connection.ApiKey is { } key && !HeaderText.IsSafe(key))
        {
            faults.Add("E2B_API_KEY holds characters that no HTTP header can carry (a line break, perhaps)");
        }

        return faults.Count == 0
            ? connection
            : throw new SandboxException(SandboxFault.InvalidRequest, "The environment is not right: " + string.Join("; ", faults) + ".");
    }

    // Printed without the key, and without what an address may carry before its host.
    private bool PrintMembers(StringBuilder text)
    {
        text.Append("ApiKey = ").Append(ApiKey is null ? "none" : "set");
        text.Append(", Api = ").Append(ServiceAddress.Shown(ServiceAddress.Api(this)));
        if (SandboxUrl is not null)
        {
            text.Append(", SandboxUrl = ").Append(ServiceAddress.Shown(SandboxUrl));
        }

        if (UnixSocket is not null)
        {
            text.Append(", UnixSocket = ").Append(UnixSocket);
        }

        text.Append(", Debug = ").Append(Debug).Append(", RequestTimeout = ").Append(RequestTimeout);
        return true;
    }
}
