using System.Text.Json.Serialization;

namespace InterpreterKernel.SandboxHost.Rest;

// The bodies of E2B's control plane (e2b-wire.md section 2), as far as they mean something here; other fields are ignored.
internal sealed record NewSandbox(
    [property: JsonPropertyName("templateID")] string? TemplateId,
    int? Timeout,
    Dictionary<string, string>? Metadata,
    Dictionary<string, string>? EnvVars,
    bool? AutoPause);

internal sealed record CreatedSandbox(
    [property: JsonPropertyName("templateID")] string TemplateId,
    [property: JsonPropertyName("sandboxID")] string SandboxId,
    [property: JsonPropertyName("clientID")] string ClientId,
    string EnvdVersion,
    string EnvdAccessToken,
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
    Lifecycle Lifecycle)
    : ListedSandbox(TemplateId, SandboxId, ClientId, StartedAt, EndAt, CpuCount, MemoryMb, DiskSizeMb, State, EnvdVersion, Metadata);

internal sealed record Lifecycle(bool AutoResume, string OnTimeout);

internal sealed record TimeoutBody(int? Timeout);

internal sealed record RefreshBody(int? Duration);
