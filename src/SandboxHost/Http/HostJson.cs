using System.Text.Json.Serialization;
using InterpreterKernel.SandboxHost.Envd;
using InterpreterKernel.SandboxHost.Rest;

namespace InterpreterKernel.SandboxHost.Http;

/// <summary>The body of a REST error.</summary>
internal sealed record ErrorBody(int Code, string Message);

/// <summary>The body of an error of the edge, which stands between clients and sandboxes.</summary>
internal sealed record EdgeError(string SandboxId, string Message, int Code, int? Port);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(ErrorBody))]
[JsonSerializable(typeof(EdgeError))]
[JsonSerializable(typeof(NewSandbox))]
[JsonSerializable(typeof(CreatedSandbox))]
[JsonSerializable(typeof(List<ListedSandbox>))]
[JsonSerializable(typeof(SandboxDetail))]
[JsonSerializable(typeof(TimeoutBody))]
[JsonSerializable(typeof(RefreshBody))]
[JsonSerializable(typeof(PauseBody))]
[JsonSerializable(typeof(NetworkOptions))]
[JsonSerializable(typeof(List<Metric>))]
[JsonSerializable(typeof(MetricsOfMany))]
[JsonSerializable(typeof(LogsV1))]
[JsonSerializable(typeof(LogsV2))]
[JsonSerializable(typeof(List<string>))]
[JsonSerializable(typeof(List<WrittenFile>))]
[JsonSerializable(typeof(ComposeBody))]
[JsonSerializable(typeof(EnvdMetrics))]
[JsonSerializable(typeof(Dictionary<string, string>))]
internal sealed partial class HostJson : JsonSerializerContext;
