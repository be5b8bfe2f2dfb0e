namespace InterpreterKernel.Sandbox;

/// <summary>What sandbox to create. Defaults are those of E2B's SDKs.</summary>
public sealed record SandboxOptions
{
    /// <summary>Id or alias of the template. Default: <c>base</c>.</summary>
    public string Template { get; init; } = "base";

    /// <summary>How long the sandbox lives unless that is changed; rounded up to seconds. Default: the service's, 300 s.</summary>
    public TimeSpan? Timeout { get; init; }

    /// <summary>
    /// Labels to find it by. One more is added, <see cref="Sandbox.CreateKey"/>, so that a create whose answer was lost can be
    /// found again.
    /// </summary>
    public IReadOnlyDictionary<string, string> Metadata { get; init; } = new Dictionary<string, string>();

    /// <summary>Environment of every process in the sandbox.</summary>
    public IReadOnlyDictionary<string, string> EnvVars { get; init; } = new Dictionary<string, string>();

    /// <summary>False cuts it off from the internet. Default: the service's, which is true for E2B.</summary>
    public bool? AllowInternetAccess { get; init; }

    /// <summary>What happens at the end of its lifetime. Default: it is killed.</summary>
    public TimeoutAction OnTimeout { get; init; } = TimeoutAction.Kill;

    /// <summary>Whether a pause at the end of its lifetime keeps memory and processes. Default: the service's, true.</summary>
    public bool? PauseKeepsMemory { get; init; }

    /// <summary>Whether traffic wakes it after such a pause. Default: false.</summary>
    public bool AutoResume { get; init; }

    /// <summary>Finer rules for its network.</summary>
    public SandboxNetwork? Network { get; init; }
}

/// <summary>What happens to a sandbox at the end of its lifetime.</summary>
public enum TimeoutAction
{
    /// <summary>It is killed; nothing is kept.</summary>
    Kill,

    /// <summary>It is paused, and can be resumed by connecting to it.</summary>
    Pause,
}

/// <summary>Rules for the network of a sandbox; null means the service's default.</summary>
public sealed record SandboxNetwork
{
    /// <summary>Whether its ports may be reached without a token. Default: true.</summary>
    public bool? AllowPublicTraffic { get; init; }

    /// <summary>Addresses, ranges or domains that it may reach.</summary>
    public IReadOnlyList<string>? AllowOut { get; init; }

    /// <summary>Addresses or ranges that it may not reach.</summary>
    public IReadOnlyList<string>? DenyOut { get; init; }

    /// <summary>The Host header that requests to its ports arrive with; <c>${PORT}</c> stands for the port.</summary>
    public string? MaskRequestHost { get; init; }
}

/// <summary>Which sandboxes to list.</summary>
public sealed record SandboxListQuery
{
    /// <summary>Only those that carry all of these labels.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; init; } = new Dictionary<string, string>();

    /// <summary>Only those in one of these states; empty means running and paused.</summary>
    public IReadOnlyList<SandboxState> States { get; init; } = [];

    /// <summary>Only those of this template.</summary>
    public string? Template { get; init; }

    /// <summary>Only those started after this moment.</summary>
    public DateTimeOffset? StartedAfter { get; init; }

    /// <summary>Oldest first. Default: newest first.</summary>
    public bool OldestFirst { get; init; }

    /// <summary>How many to ask for at once, 1 to 100. The list is complete whatever the number.</summary>
    public int PageSize { get; init; } = 100;
}
