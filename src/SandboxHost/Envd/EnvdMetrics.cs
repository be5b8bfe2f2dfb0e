using System.Text.Json.Serialization;
using InterpreterKernel.SandboxHost.Sandboxes;

namespace InterpreterKernel.SandboxHost.Envd;

/// <summary>What envd's <c>/metrics</c> says (e2b-wire.md section 4.3).</summary>
internal sealed record EnvdMetrics(
    [property: JsonPropertyName("ts")] long Time,
    [property: JsonPropertyName("cpu_count")] int CpuCount,
    [property: JsonPropertyName("cpu_used_pct")] double CpuUsedPercent,
    [property: JsonPropertyName("mem_total_mib")] long MemoryTotalMib,
    [property: JsonPropertyName("mem_used_mib")] long MemoryUsedMib,
    [property: JsonPropertyName("mem_total")] long MemoryTotal,
    [property: JsonPropertyName("mem_used")] long MemoryUsed,
    [property: JsonPropertyName("mem_cache")] long MemoryCache,
    [property: JsonPropertyName("disk_used")] long DiskUsed,
    [property: JsonPropertyName("disk_total")] long DiskTotal)
{
    internal static EnvdMetrics From(MetricSample sample, SandboxResources resources) =>
        new(
            sample.Time.ToUnixTimeSeconds(),
            (int)Math.Ceiling(resources.Cpus),
            sample.CpuPercent,
            resources.MemoryBytes >> 20,
            sample.Memory >> 20,
            resources.MemoryBytes,
            sample.Memory,
            sample.Cache,
            sample.DiskUsed,
            sample.DiskTotal);
}
