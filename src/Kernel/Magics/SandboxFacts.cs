using System.Globalization;
using System.Text;
using InterpreterKernel.Broker;
using InterpreterKernel.Kernel.Configuration;
using InterpreterKernel.Sandbox;

namespace InterpreterKernel.Kernel.Magics;

/// <summary>What is known of a sandbox: from its service, its own measurements and the broker. What none of them says is left out.</summary>
internal sealed class SandboxFacts(Sandbox.Sandbox sandbox, Settings settings, TimeSpan? cellTimeout)
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(5);

    private readonly StringBuilder _text = new();

    /// <summary>One line a fact.</summary>
    public async Task<string> ReadAsync(CancellationToken cancellationToken)
    {
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        patience.CancelAfter(s_patience);
        var asking = (
            Broker: TryAsync(BrokerAsync(patience.Token), cancellationToken),
            Info: TryAsync(InfoAsync(patience.Token), cancellationToken),
            Metrics: TryAsync(MetricsAsync(patience.Token), cancellationToken));
        var (broker, info, metrics) = (await asking.Broker.ConfigureAwait(false), await asking.Info.ConfigureAwait(false), await asking.Metrics.ConfigureAwait(false));
        var claim = broker?.Claims.FirstOrDefault(c => c.Sandbox == sandbox.Id);
        var account = broker?.Accounts.FirstOrDefault(a => a.Service == claim?.Service);

        Add("sandbox", sandbox.Id);
        Add("service", claim?.Service is "embedded" ? "embedded (this machine)" : claim?.Service);
        Add("template", claim?.Template ?? (info?.Alias ?? info?.TemplateId));
        Add("kernel", settings.Kernel);
        var started = info?.StartedAt is { Ticks: > 0 } since ? since : claim?.Started;
        Add("up", started is { } at ? $"{Age(DateTimeOffset.UtcNow - at)}, since {at.ToLocalTime():HH:mm:ss}" : null);
        Add("memory", metrics is { MemoryTotal: > 0 } m ? $"{ByteSize.Format(m.MemoryUsed)} of {ByteSize.Format(m.MemoryTotal)}"
            : info is { MemoryMegabytes: > 0 } i ? $"{ByteSize.Format(i.MemoryMegabytes << 20)} in all" : null);
        Add("disk", metrics is { DiskTotal: > 0 } d ? $"{ByteSize.Format(d.DiskUsed)} of {ByteSize.Format(d.DiskTotal)}" : null);
        Add("processors", metrics is { CpuCount: > 0 } c ? string.Create(CultureInfo.InvariantCulture, $"{c.CpuCount:0.##}, {c.CpuUsedPercent:0} % busy")
            : info is { CpuCount: > 0 } n ? string.Create(CultureInfo.InvariantCulture, $"{n.CpuCount:0.##}") : null);
        Add("slots", account is not null ? $"{account.Used} of {account.Limit?.ToString(CultureInfo.InvariantCulture) ?? "any number"} in use, {account.Queued} waiting" : null);
        Add("lease", $"{Duration.Format(settings.Lifetime)}, renewed while this kernel lives"
            + (info?.EndAt is { Ticks: > 0 } end && end > DateTimeOffset.UtcNow ? $"; without it, {Age(end - DateTimeOffset.UtcNow)} from now on" : ""));
        Add("timeouts", $"a cell {Limit(cellTimeout)}, all cells {Limit(settings.NotebookTimeout)}, a request {Duration.Format(settings.RequestTimeout)}");
        Add("trouble", claim?.Trouble);
        return _text.ToString().TrimEnd();
    }

    private static string Limit(TimeSpan? limit) => limit is { } time ? Duration.Format(time) : Duration.None;

    private static string Age(TimeSpan time) => time switch
    {
        { TotalSeconds: < 0 } => "0 s",
        { TotalMinutes: < 2 } => $"{(int)time.TotalSeconds} s",
        { TotalHours: < 2 } => $"{(int)time.TotalMinutes} min",
        _ => $"{(int)time.TotalHours} h {time.Minutes} min",
    };

    private static async Task<BrokerStatus?> BrokerAsync(CancellationToken cancellationToken)
    {
        using var client = new BrokerClient(RuntimeDirectory.Open());
        return await client.StatusAsync(cancellationToken).ConfigureAwait(false);
    }

    private static async Task<T?> TryAsync<T>(Task<T?> asked, CancellationToken cancellationToken)
        where T : class
    {
        try
        {
            return await asked.ConfigureAwait(false);
        }
        catch (Exception e) when (e is SandboxException or BrokerException or OperationCanceledException && !cancellationToken.IsCancellationRequested)
        {
            // Not every service tells everything, and facts are not worth an error.
            return null;
        }
    }

    private async Task<SandboxInfo?> InfoAsync(CancellationToken cancellationToken) =>
        await sandbox.GetInfoAsync(cancellationToken).ConfigureAwait(false);

    private async Task<SandboxMetrics?> MetricsAsync(CancellationToken cancellationToken)
    {
        var measured = await sandbox.GetMetricsAsync(null, null, cancellationToken).ConfigureAwait(false);
        return measured.Count > 0 ? measured[^1] : null;
    }

    private void Add(string what, string? fact)
    {
        if (!string.IsNullOrEmpty(fact))
        {
            _text.Append(CultureInfo.InvariantCulture, $"{what,-11} {fact}\n");
        }
    }
}
