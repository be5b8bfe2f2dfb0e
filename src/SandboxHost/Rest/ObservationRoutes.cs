using System.Globalization;
using InterpreterKernel.SandboxHost.Http;
using InterpreterKernel.SandboxHost.Sandboxes;
using Microsoft.AspNetCore.Http;

namespace InterpreterKernel.SandboxHost.Rest;

/// <summary>Metrics and logs (e2b-wire.md section 2.5).</summary>
internal sealed class ObservationRoutes(SandboxRegistry registry)
{
    private const int MaxLogs = 1000;
    private const int MaxIds = 100;

    private static readonly string[] s_levels = ["debug", "info", "warn", "error"];

    internal static async Task MetricsAsync(HttpContext context, LocalSandbox sandbox)
    {
        var query = context.Request.Query;
        if (!TryNumber(query["start"], 0, long.MaxValue, out var start) || !TryNumber(query["end"], long.MaxValue, long.MaxValue, out var end))
        {
            await Answers.ErrorAsync(context, 400, "validation error: start and end must be times in unix seconds");
            return;
        }

        var samples = await sandbox.Metrics.ReadAsync();
        await Answers.JsonAsync(context, 200, samples.Select(s => Shown(s, sandbox.Request.Resources)).Where(m => m.TimestampUnix >= start && m.TimestampUnix <= end).ToList(), HostJson.Default.ListMetric);
    }

    /// <summary>The newest sample of each of the named sandboxes that run.</summary>
    internal async Task MetricsOfManyAsync(HttpContext context)
    {
        var ids = context.Request.Query["sandbox_ids"].SelectMany(s => (s ?? "").Split(',', StringSplitOptions.RemoveEmptyEntries)).Distinct().ToList();
        if (ids.Count is 0 or > MaxIds)
        {
            await Answers.ErrorAsync(context, 400, $"validation error: sandbox_ids must be 1 to {MaxIds} ids");
            return;
        }

        var found = new Dictionary<string, Metric>();
        foreach (var sandbox in ids.Select(registry.Find).OfType<LocalSandbox>())
        {
            if (await sandbox.Metrics.ReadAsync() is [.., var last])
            {
                found[sandbox.Id] = Shown(last, sandbox.Request.Resources);
            }
        }

        await Answers.JsonAsync(context, 200, new MetricsOfMany(found), HostJson.Default.MetricsOfMany);
    }

    internal static async Task LogsV1Async(HttpContext context, LocalSandbox sandbox)
    {
        var query = context.Request.Query;
        if (!TryNumber(query["start"], 0, long.MaxValue, out var start) || !TryNumber(query["limit"], MaxLogs, MaxLogs, out var limit))
        {
            await Answers.ErrorAsync(context, 400, $"validation error: start must be a time in unix milliseconds, limit 0 to {MaxLogs}");
            return;
        }

        var entries = sandbox.Journal.Read().Where(e => e.Time.ToUnixTimeMilliseconds() >= start).Take((int)limit).Select(Shown).ToList();
        await Answers.JsonAsync(context, 200, new LogsV1([.. entries.Select(e => new LogLine(e.Timestamp, Line(e)))], entries), HostJson.Default.LogsV1);
    }

    internal static async Task LogsV2Async(HttpContext context, LocalSandbox sandbox)
    {
        var query = context.Request.Query;
        var backward = query["direction"].ToString() == "backward";
        var level = query["level"].ToString() is { Length: > 0 } least ? Array.IndexOf(s_levels, least) : 0;
        if (!TryNumber(query["cursor"], backward ? long.MaxValue : 0, long.MaxValue, out var cursor)
            || !TryNumber(query["limit"], MaxLogs, MaxLogs, out var limit)
            || level < 0
            || query["direction"].ToString() is not ("" or "forward" or "backward"))
        {
            await Answers.ErrorAsync(
                context, 400, $"validation error: cursor must be a time in unix milliseconds, limit 0 to {MaxLogs}, direction forward or backward, level one of {string.Join(", ", s_levels)}");
            return;
        }

        var search = query["search"].ToString();
        var entries = sandbox.Journal.Read()
            .Where(e => backward ? e.Time.ToUnixTimeMilliseconds() <= cursor : e.Time.ToUnixTimeMilliseconds() >= cursor)
            .Where(e => Array.IndexOf(s_levels, e.Level) >= level)
            .Select(Shown)
            .Where(e => search.Length == 0 || Line(e).Contains(search, StringComparison.OrdinalIgnoreCase));
        await Answers.JsonAsync(context, 200, new LogsV2([.. (backward ? entries.Reverse() : entries).Take((int)limit)]), HostJson.Default.LogsV2);
    }

    private static Metric Shown(MetricSample sample, SandboxResources resources) =>
        new(
            sample.Time,
            sample.Time.ToUnixTimeSeconds(),
            (int)Math.Ceiling(resources.Cpus),
            sample.CpuPercent,
            sample.Memory,
            resources.MemoryBytes,
            sample.Cache,
            sample.DiskUsed,
            sample.DiskTotal);

    private static LogEntry Shown(JournalEntry entry) => new(entry.Time, entry.Level, entry.Message, entry.Fields);

    private static string Line(LogEntry entry) => string.Join(' ', entry.Fields.Select(f => $"{f.Key}={f.Value}").Prepend(entry.Message));

    private static bool TryNumber(string? text, long absent, long maximum, out long number)
    {
        number = absent;
        return string.IsNullOrEmpty(text) || (long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out number) && number <= maximum);
    }
}
