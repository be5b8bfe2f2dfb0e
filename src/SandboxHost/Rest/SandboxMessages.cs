using System.Text.Json;
using System.Text.Json.Serialization;

namespace InterpreterKernel.SandboxHost.Rest;

// The bodies of E2B's control plane (e2b-wire.md section 2), as far as they mean something here; other fields are ignored.
internal sealed record NewSandbox(
    [property: JsonPropertyName("templateID")] string? TemplateId,
    int? Timeout,
    Dictionary<string, string>? Metadata,
    Dictionary<string, string>? EnvVars,
    bool? AutoPause,
    bool? AutoPauseMemory,
    AutoResume? AutoResume,
    NetworkOptions? Network,
    JsonElement? VolumeMounts,
    JsonElement? Mcp,
    JsonElement? Iam);

internal sealed record AutoResume(bool? Enabled);

/// <summary>Of <c>network</c> at creation and of the body of <c>PUT …/network</c>.</summary>
internal sealed record NetworkOptions(
    bool? AllowPublicTraffic,
    List<string>? AllowOut,
    List<string>? DenyOut,
    JsonElement? EgressProxy,
    string? MaskRequestHost,
    JsonElement? Rules,
    List<int>? HttpsPorts,
    [property: JsonPropertyName("allow_internet_access")] bool? AllowInternetAccess);

internal sealed record CreatedSandbox(
    [property: JsonPropertyName("templateID")] string TemplateId,
    [property: JsonPropertyName("sandboxID")] string SandboxId,
    [property: JsonPropertyName("clientID")] string ClientId,
    string EnvdVersion,
    string EnvdAccessToken,
    string? TrafficAccessToken,
    string? Domain);

internal record ListedSandbox(
    [property: JsonPropertyName("templateID")] string TemplateId,
    [property: JsonPropertyName("sandboxID")] string SandboxId,
    [property: JsonPropertyName("clientID")] string ClientId,
    DateTimeOffset StartedAt,
    DateTimeOffset EndAt,
    int CpuCount,
    [property: JsonPropertyName("memoryMB")] int MemoryMb,
    [property: JsonPropertyName("diskSizeMB")] int DiskSizeMb,
    string State,
    string EnvdVersion,
    IReadOnlyDictionary<string, string> Metadata);

internal sealed record SandboxDetail(
    string TemplateId,
    string SandboxId,
    string ClientId,
    DateTimeOffset StartedAt,
    DateTimeOffset EndAt,
    int CpuCount,
    int MemoryMb,
    int DiskSizeMb,
    string State,
    string EnvdVersion,
    IReadOnlyDictionary<string, string> Metadata,
    string EnvdAccessToken,
    bool AllowInternetAccess,
    NetworkDetail Network,
    Lifecycle Lifecycle)
    : ListedSandbox(TemplateId, SandboxId, ClientId, StartedAt, EndAt, CpuCount, MemoryMb, DiskSizeMb, State, EnvdVersion, Metadata);

internal sealed record NetworkDetail(bool AllowPublicTraffic, string? MaskRequestHost);

internal sealed record Lifecycle(bool AutoResume, string OnTimeout);

internal sealed record TimeoutBody(int? Timeout, bool? Memory);

internal sealed record RefreshBody(int? Duration);

internal sealed record PauseBody(bool? Memory);

/// <summary>One sample of <c>…/metrics</c>; sizes in bytes, the processor in percent of all that the sandbox may use.</summary>
internal sealed record Metric(
    DateTimeOffset Timestamp,
    long TimestampUnix,
    int CpuCount,
    double CpuUsedPct,
    long MemUsed,
    long MemTotal,
    long MemCache,
    long DiskUsed,
    long DiskTotal);

internal sealed record MetricsOfMany(Dictionary<string, Metric> Sandboxes);

internal sealed record LogLine(DateTimeOffset Timestamp, string Line);

internal sealed record LogEntry(DateTimeOffset Timestamp, string Level, string Message, IReadOnlyDictionary<string, string> Fields);

internal sealed record LogsV1(List<LogLine> Logs, List<LogEntry> LogEntries);

internal sealed record LogsV2(List<LogEntry> Logs);
