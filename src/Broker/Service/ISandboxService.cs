using RemoteSandbox = InterpreterKernel.Sandbox.Sandbox;

namespace InterpreterKernel.Broker;

/// <summary>
/// The control plane of one service account, as much of it as the broker needs. Two things stand behind it:
/// <c>SandboxService</c> and the double of the tests. Every method throws <see cref="ServiceException"/>.
/// </summary>
internal interface ISandboxService
{
    Task<CreatedSandbox> CreateAsync(SandboxSpec spec, CancellationToken cancellation);

    /// <returns>False when there was no such sandbox (any more).</returns>
    Task<bool> KillAsync(string id, CancellationToken cancellation);

    /// <summary>Lets the sandbox live for <paramref name="lifetime"/> from now on.</summary>
    Task SetTimeoutAsync(string id, TimeSpan lifetime, CancellationToken cancellation);

    /// <summary>Reaches into a sandbox that was created here.</summary>
    Task<RemoteSandbox> AttachAsync(CreatedSandbox sandbox);

    /// <summary>All sandboxes that carry all of this metadata.</summary>
    IAsyncEnumerable<ListedSandbox> ListAsync(IReadOnlyDictionary<string, string> metadata, CancellationToken cancellation);
}

internal sealed record SandboxSpec(
    string Template,
    TimeSpan Lifetime,
    IReadOnlyDictionary<string, string> Metadata,
    IReadOnlyDictionary<string, string> EnvVars);

/// <summary>A new sandbox; <c>UnixSocket</c> is the embedded host's, and null for a remote service.</summary>
internal sealed record CreatedSandbox(string Id, string? EnvdAccessToken, string? Domain, string? UnixSocket);

internal sealed record ListedSandbox(string Id, IReadOnlyDictionary<string, string> Metadata);

/// <summary>What can go wrong with a service, as far as the broker acts differently.</summary>
internal enum ServiceFault
{
    /// <summary>No such sandbox, or on creation no such template.</summary>
    NotFound,

    /// <summary>429 without Retry-After: no slot left in the account.</summary>
    ConcurrencyLimit,

    /// <summary>429 with Retry-After: too many requests.</summary>
    RateLimited,

    /// <summary>The key is not accepted.</summary>
    Authentication,

    /// <summary>The request is refused for good.</summary>
    Rejected,

    /// <summary>503: the service has no machine for it right now.</summary>
    Busy,

    /// <summary>Any other failure of the service; whether the request had its effect is unknown.</summary>
    ServiceError,

    /// <summary>The connection broke; whether the request had its effect is unknown.</summary>
    Unreachable,

    /// <summary>No connection: the request had no effect.</summary>
    NeverSent,

    /// <summary>No answer in time; whether the request had its effect is unknown.</summary>
    Timeout,

    /// <summary>The embedded host could not be started.</summary>
    EmbeddedHost,
}

internal sealed class ServiceException(ServiceFault fault, string message, TimeSpan? retryAfter = null, Exception? inner = null)
    : Exception(message, inner)
{
    public ServiceFault Fault { get; } = fault;

    public TimeSpan? RetryAfter { get; } = retryAfter;

    /// <summary>Whether the request may have had its effect all the same.</summary>
    public bool IsUnclear => Fault is ServiceFault.ServiceError or ServiceFault.Unreachable or ServiceFault.Timeout;
}
