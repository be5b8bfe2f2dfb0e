using System.Text.Json.Serialization;

namespace InterpreterKernel.Sandbox.Rest;

// The bodies of the control plane (e2b-wire.md section 2). Property names are the wire; what is null is left out.
internal sealed class CreateBody
{
    [JsonPropertyName("templateID")]
    public required string TemplateId { get; init; }

    [JsonPropertyName("timeout")]
    public int? Timeout { get; init; }

    [JsonPropertyName("metadata")]
    public IReadOnlyDictionary<string, string>? Metadata { get; init; }

    [JsonPropertyName("envVars")]
    public IReadOnlyDictionary<string, string>? EnvVars { get; init; }

    // v1 only; v2 sandboxes are always secured.
    [JsonPropertyName("secure")]
    public bool? Secure { get; init; }

    // Snake case on the wire, unlike its neighbours.
    [JsonPropertyName("allow_internet_access")]
    public bool? AllowInternetAccess { get; init; }

    [JsonPropertyName("autoPause")]
    public bool? AutoPause { get; init; }

    [JsonPropertyName("autoPauseMemory")]
    public bool? AutoPauseMemory { get; init; }

    [JsonPropertyName("autoResume")]
    public AutoResumeBody? AutoResume { get; init; }

    [JsonPropertyName("network")]
    public NetworkBody? Network { get; init; }
}

internal sealed record AutoResumeBody([property: JsonPropertyName("enabled")] bool Enabled);

internal sealed class NetworkBody
{
    [JsonPropertyName("allowPublicTraffic")]
    public bool? AllowPublicTraffic { get; init; }

    [JsonPropertyName("allowOut")]
    public IReadOnlyList<string>? AllowOut { get; init; }

    [JsonPropertyName("denyOut")]
    public IReadOnlyList<string>? DenyOut { get; init; }

    [JsonPropertyName("maskRequestHost")]
    public string? MaskRequestHost { get; init; }
}

internal sealed class TimeoutBody
{
    [JsonPropertyName("timeout")]
    public int? Timeout { get; init; }
}

internal sealed class PauseBody
{
    [JsonPropertyName("memory")]
    public bool? Memory { get; init; }
}

/// <summary>The answer to create and connect.</summary>
internal sealed class SandboxBody
{
    [JsonPropertyName("sandboxID")]
    public string? SandboxId { get; init; }

    [JsonPropertyName("templateID")]
    public string? TemplateId { get; init; }

    [JsonPropertyName("envdVersion")]
    public string? EnvdVersion { get; init; }

    [JsonPropertyName("envdAccessToken")]
    public string? EnvdAccessToken { get; init; }

    [JsonPropertyName("trafficAccessToken")]
    public string? TrafficAccessToken { get; init; }

    [JsonPropertyName("domain")]
    public string? Domain { get; init; }
}

/// <summary>One entry of a list, and the answer to get.</summary>
internal sealed class SandboxInfoBody
{
    [JsonPropertyName("sandboxID")]
    public string? SandboxId { get; init; }

    [JsonPropertyName("templateID")]
    public string? TemplateId { get; init; }

    [JsonPropertyName("alias")]
    public string? Alias { get; init; }

    [JsonPropertyName("startedAt")]
    public DateTimeOffset? StartedAt { get; init; }

    [JsonPropertyName("endAt")]
    public DateTimeOffset? EndAt { get; init; }

    [JsonPropertyName("cpuCount")]
    public double? CpuCount { get; init; }

    [JsonPropertyName("memoryMB")]
    public long? MemoryMegabytes { get; init; }

    [JsonPropertyName("diskSizeMB")]
    public long? DiskMegabytes { get; init; }

    [JsonPropertyName("state")]
    public string? State { get; init; }

    [JsonPropertyName("envdVersion")]
    public string? EnvdVersion { get; init; }

    [JsonPropertyName("metadata")]
    public Dictionary<string, string>? Metadata { get; init; }

    [JsonPropertyName("allowInternetAccess")]
    public bool? AllowInternetAccess { get; init; }

    [JsonPropertyName("domain")]
    public string? Domain { get; init; }

    [JsonPropertyName("lifecycle")]
    public LifecycleBody? Lifecycle { get; init; }
}

internal sealed class LifecycleBody
{
    [JsonPropertyName("onTimeout")]
    public string? OnTimeout { get; init; }

    [JsonPropertyName("autoResume")]
    public bool? AutoResume { get; init; }
}

internal sealed class MetricsBody
{
    [JsonPropertyName("timestamp")]
    public DateTimeOffset? Timestamp { get; init; }

    [JsonPropertyName("timestampUnix")]
    public long? TimestampUnix { get; init; }

    [JsonPropertyName("cpuCount")]
    public double CpuCount { get; init; }

    [JsonPropertyName("cpuUsedPct")]
    public double CpuUsedPercent { get; init; }

    [JsonPropertyName("memUsed")]
    public long MemoryUsed { get; init; }

    [JsonPropertyName("memTotal")]
    public long MemoryTotal { get; init; }

    [JsonPropertyName("memCache")]
    public long MemoryCache { get; init; }

    [JsonPropertyName("diskUsed")]
    public long DiskUsed { get; init; }

    [JsonPropertyName("diskTotal")]
    public long DiskTotal { get; init; }
}

[JsonSourceGenerationOptions(DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(CreateBody))]
[JsonSerializable(typeof(TimeoutBody))]
[JsonSerializable(typeof(PauseBody))]
[JsonSerializable(typeof(SandboxBody))]
[JsonSerializable(typeof(SandboxInfoBody))]
[JsonSerializable(typeof(SandboxInfoBody[]))]
[JsonSerializable(typeof(MetricsBody[]))]
internal sealed partial class ControlPlaneJson : JsonSerializerContext;
