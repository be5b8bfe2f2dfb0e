using System.Text.Json;
using System.Text.Json.Serialization;

namespace InterpreterKernel.Broker;

/// <summary>How the broker's messages read and write themselves: camel case, nulls left out, no reflection.</summary>
[JsonSourceGenerationOptions(JsonSerializerDefaults.Web, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(ClaimRequest))]
[JsonSerializable(typeof(ClaimEvent))]
[JsonSerializable(typeof(BrokerStatus))]
[JsonSerializable(typeof(HolderReport))]
[JsonSerializable(typeof(BrokerError))]
[JsonSerializable(typeof(IReadOnlyList<SandboxStatus>))]
public sealed partial class BrokerJson : JsonSerializerContext;
