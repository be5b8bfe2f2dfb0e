using System.Text.Json.Serialization;

namespace InterpreterKernel.Broker;

/// <summary>One line of a claim's stream. Which properties are set depends on <see cref="Event"/>.</summary>
public sealed record ClaimEvent
{
    /// <summary>One of the names in <see cref="ClaimEvents"/>.</summary>
    [JsonPropertyOrder(-1)]
    public required string Event { get; init; }

    /// <summary><c>queued</c>: the place in the queue, from 1.</summary>
    public int? Position { get; init; }

    /// <summary><c>queued</c>: the limit that is in force for this claim.</summary>
    public int? Limit { get; init; }

    /// <summary><c>ready</c>: the claim's id, for handover and release.</summary>
    public string? Claim { get; init; }

    /// <summary><c>ready</c>: the sandbox.</summary>
    public GrantedSandbox? Sandbox { get; init; }

    /// <summary><c>lost</c>, <c>failed</c>: one of <see cref="ClaimReasons"/>.</summary>
    public string? Reason { get; init; }

    /// <summary><c>lost</c>, <c>failed</c>: what happened and what to do, for a person.</summary>
    public string? Message { get; init; }
}

/// <summary>A sandbox as its holder needs it.</summary>
/// <param name="Id">The sandbox's id.</param>
/// <param name="EnvdAccessToken">The token of its daemon, when it has one.</param>
/// <param name="Domain">The domain the service named for it, when it did.</param>
/// <param name="UnixSocket">Embedded host: the socket that both planes are served on.</param>
/// <param name="HandedOver">Whether it is the one that the previous claim with this key left, files and all.</param>
public sealed record GrantedSandbox(string Id, string? EnvdAccessToken, string? Domain, string? UnixSocket, bool HandedOver)
{
    /// <summary>Where it was a spare: the id of the process in it that leads to the kernel that the claim named, which waits for its first request.</summary>
    public uint? Attachment { get; init; }

    /// <summary>Whether it was one.</summary>
    [JsonIgnore]
    public bool Warm => Attachment is not null;

    /// <summary>The id only: the token is a secret.</summary>
    public override string ToString() => Id;
}

/// <summary>The kinds of line in a claim's stream.</summary>
public static class ClaimEvents
{
    /// <summary>Waiting for a slot; told again whenever the place changes.</summary>
    public const string Queued = "queued";

    /// <summary>A slot is ours; the service has been asked for the sandbox.</summary>
    public const string Creating = "creating";

    /// <summary>The sandbox is there.</summary>
    public const string Ready = "ready";

    /// <summary>The sandbox is gone. Last line of the stream.</summary>
    public const string Lost = "lost";

    /// <summary>There will be no sandbox. Last line of the stream.</summary>
    public const string Failed = "failed";

    /// <summary>Nothing new; shows that the broker lives.</summary>
    public const string Alive = "alive";
}

/// <summary>Why a claim was lost or failed.</summary>
public static class ClaimReasons
{
    /// <summary>Lost: the lease ran out before it could be renewed.</summary>
    public const string Expired = "expired";

    /// <summary>Lost: somebody killed the sandbox.</summary>
    public const string Killed = "killed";

    /// <summary>Lost: the holder released it.</summary>
    public const string Released = "released";

    /// <summary>Lost: the next claim with the same key has it now.</summary>
    public const string HandedOver = "handed_over";

    /// <summary>Lost or failed: the broker is going away.</summary>
    public const string Stopping = "stopping";

    /// <summary>Lost or failed: the broker went away or is stuck (told by the client, not by the broker).</summary>
    public const string Broker = "broker";

    /// <summary>Failed: no slot was free and the claim was not to wait, or not any longer.</summary>
    public const string Limit = "limit";

    /// <summary>Failed or lost: the service does not accept the key, or no longer.</summary>
    public const string Authentication = "authentication";

    /// <summary>Failed: the service does not know the template.</summary>
    public const string NotFound = "not_found";

    /// <summary>Failed: the service refused the request for another reason.</summary>
    public const string Rejected = "rejected";

    /// <summary>Failed or lost: the service could not be reached or did not answer in time.</summary>
    public const string Unreachable = "unreachable";

    /// <summary>Failed or lost: the service had an error of its own.</summary>
    public const string Service = "service";

    /// <summary>Failed: the embedded host could not be started.</summary>
    public const string EmbeddedHost = "embedded_host";
}
