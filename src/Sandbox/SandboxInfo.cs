namespace InterpreterKernel.Sandbox;

/// <summary>What the service says about a sandbox.</summary>
public sealed record SandboxInfo
{
    /// <summary>Its id.</summary>
    public required string Id { get; init; }

    /// <summary>The template it was made from.</summary>
    public string TemplateId { get; init; } = "";

    /// <summary>The template's name, if it has one.</summary>
    public string? Alias { get; init; }

    /// <summary>Running or paused.</summary>
    public SandboxState State { get; init; } = SandboxState.Running;

    /// <summary>When it was started, or resumed.</summary>
    public DateTimeOffset StartedAt { get; init; }

    /// <summary>When its lifetime ends; for a paused one, when it was paused.</summary>
    public DateTimeOffset EndAt { get; init; }

    /// <summary>Its labels.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; init; } = new Dictionary<string, string>();

    /// <summary>Its processors.</summary>
    public double CpuCount { get; init; }

    /// <summary>Its memory in MiB.</summary>
    public long MemoryMegabytes { get; init; }

    /// <summary>Its disk in MiB.</summary>
    public long DiskMegabytes { get; init; }

    /// <summary>The version of the daemon inside.</summary>
    public string EnvdVersion { get; init; } = "";

    /// <summary>Whether it may reach the internet; null when the service does not say.</summary>
    public bool? AllowInternetAccess { get; init; }

    /// <summary>The domain that its ports are reached by; null for the service's own.</summary>
    public string? Domain { get; init; }

    /// <summary>What happens at the end of its lifetime; null when the service does not say.</summary>
    public TimeoutAction? OnTimeout { get; init; }

    /// <summary>Whether traffic wakes it when paused; null when the service does not say.</summary>
    public bool? AutoResume { get; init; }
}

/// <summary>The states in which a sandbox can be listed.</summary>
public enum SandboxState
{
    /// <summary>It runs, and takes a place in the concurrency limit.</summary>
    Running,

    /// <summary>It is stored away, and can be resumed.</summary>
    Paused,
}

/// <summary>One measurement of a sandbox; sizes in bytes.</summary>
/// <param name="Timestamp">When it was measured.</param>
/// <param name="CpuCount">Its processors.</param>
/// <param name="CpuUsedPercent">How busy they were, in percent.</param>
/// <param name="MemoryUsed">Memory in use.</param>
/// <param name="MemoryTotal">Memory there is.</param>
/// <param name="MemoryCache">Memory used for caches.</param>
/// <param name="DiskUsed">Disk in use.</param>
/// <param name="DiskTotal">Disk there is.</param>
public sealed record SandboxMetrics(
    DateTimeOffset Timestamp,
    double CpuCount,
    double CpuUsedPercent,
    long MemoryUsed,
    long MemoryTotal,
    long MemoryCache,
    long DiskUsed,
    long DiskTotal);
