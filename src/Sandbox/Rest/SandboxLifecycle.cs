using System.Runtime.CompilerServices;
using System.Text.Json;
using InterpreterKernel.Sandbox.Http;

namespace InterpreterKernel.Sandbox.Rest;

/// <summary>The calls of the control plane on sandboxes that exist (e2b-wire.md sections 2.2 to 2.5).</summary>
internal static class SandboxLifecycle
{
    private const string Route = "/sandboxes";

    public static async Task<SandboxBody> ConnectAsync(ControlPlane api, string id, TimeSpan? timeout, CallClock clock)
    {
        var doing = $"Connecting to sandbox {id}";
        var second = new TimeoutBody { Timeout = timeout is { } t ? WholeSeconds(t) : null };
        var first = new TimeoutBody { Timeout = WholeSeconds(timeout ?? SandboxCreation.DefaultLifetime) };
        var path = $"{Route}/{id}/connect";
        var answer = await api.SendNewestAsync(
            HttpMethod.Post,
            "connect",
            ("/v2" + path, JsonSerializer.SerializeToUtf8Bytes(second, ControlPlaneJson.Default.TimeoutBody)),
            (path, JsonSerializer.SerializeToUtf8Bytes(first, ControlPlaneJson.Default.TimeoutBody)),
            repeatable: true,
            doing,
            clock);
        return api.Read(answer, ControlPlaneJson.Default.SandboxBody, doing);
    }

    public static async Task<bool> KillAsync(ControlPlane api, string id, CallClock clock)
    {
        var doing = $"Killing sandbox {id}";
        var answer = await api.SendAsync(HttpMethod.Delete, $"{Route}/{id}", null, repeatable: true, doing, clock);
        return answer.IsSuccess || (api.SaysNotFound(answer) ? false : throw api.Refused(answer, doing));
    }

    public static async Task SetTimeoutAsync(ControlPlane api, string id, TimeSpan timeout, CallClock clock)
    {
        var doing = $"Setting the lifetime of sandbox {id}";
        var body = JsonSerializer.SerializeToUtf8Bytes(new TimeoutBody { Timeout = WholeSeconds(timeout) }, ControlPlaneJson.Default.TimeoutBody);
        var answer = await api.SendAsync(HttpMethod.Post, $"{Route}/{id}/timeout", body, repeatable: true, doing, clock);
        if (!answer.IsSuccess)
        {
            throw api.Refused(answer, doing);
        }
    }

    public static async Task<SandboxInfo> GetAsync(ControlPlane api, string id, CallClock clock)
    {
        var doing = $"Asking for sandbox {id}";
        var answer = await api.SendAsync(HttpMethod.Get, $"{Route}/{id}", null, repeatable: true, doing, clock);
        return InfoOf(api.Read(answer, ControlPlaneJson.Default.SandboxInfoBody, doing), doing);
    }

    /// <summary>True when it is paused now; false when it was paused already.</summary>
    public static async Task<bool> PauseAsync(ControlPlane api, string id, bool? keepMemory, CallClock clock)
    {
        var doing = $"Pausing sandbox {id}";
        var body = JsonSerializer.SerializeToUtf8Bytes(new PauseBody { Memory = keepMemory }, ControlPlaneJson.Default.PauseBody);
        var answer = await api.SendAsync(HttpMethod.Post, $"{Route}/{id}/pause", body, repeatable: false, doing, clock);
        return answer.IsSuccess || (answer.Status == 409 ? false : throw api.Refused(answer, doing));
    }

    public static async Task<IReadOnlyList<SandboxMetrics>> MetricsAsync(
        ControlPlane api, string id, DateTimeOffset? start, DateTimeOffset? end, CallClock clock)
    {
        var doing = $"Asking for the metrics of sandbox {id}";
        var query = new List<string>();
        if (start is { } from)
        {
            query.Add($"start={from.ToUnixTimeSeconds()}");
        }

        if (end is { } to)
        {
            query.Add($"end={to.ToUnixTimeSeconds()}");
        }

        var path = $"{Route}/{id}/metrics" + (query.Count == 0 ? "" : "?" + string.Join('&', query));
        var answer = await api.SendAsync(HttpMethod.Get, path, null, repeatable: true, doing, clock);
        return Array.ConvertAll(
            api.Read(answer, ControlPlaneJson.Default.MetricsBodyArray, doing),
            m => new SandboxMetrics(
                m.Timestamp ?? DateTimeOffset.FromUnixTimeSeconds(m.TimestampUnix ?? 0),
                m.CpuCount, m.CpuUsedPercent, m.MemoryUsed, m.MemoryTotal, m.MemoryCache, m.DiskUsed, m.DiskTotal));
    }

    /// <summary>All pages, one request at a time, each with its own request timeout.</summary>
    public static async IAsyncEnumerable<SandboxInfo> ListAsync(
        ControlPlane api, SandboxListQuery query, [EnumeratorCancellation] CancellationToken ct)
    {
        const string Doing = "Listing sandboxes";
        string? next = null;
        var seen = new HashSet<string>(StringComparer.Ordinal);
        do
        {
            ServiceAnswer answer;
            using (var clock = new CallClock(api.Connection, ct))
            {
                answer = await api.SendNewestAsync(
                    HttpMethod.Get, "list", ("/v2" + Route + ListQuery(query, next), null), (Route + FirstVersionQuery(query), null), repeatable: true, Doing, clock);
            }

            var isFirstVersion = api.UsesFirstVersion("list");
            foreach (var entry in api.Read(answer, ControlPlaneJson.Default.SandboxInfoBodyArray, Doing))
            {
                var info = InfoOf(entry, Doing);

                // v1 can't filter by state and template, so that is done here.
                if (!isFirstVersion || Matches(info, query))
                {
                    yield return info;
                }
            }

            next = answer.Header("X-Next-Token");
            if (next is { Length: > 0 } && !seen.Add(next))
            {
                throw new SandboxException(SandboxFault.Protocol, $"{Doing} failed: {api.Where} hands out the same page again and again.");
            }
        }
        while (next is { Length: > 0 });
    }

    /// <summary>
    /// E2B's SDKs encode metadata three times over, and servers decode as often: each part twice, then the whole once.
    /// <c>{"k 1":"v/1"}</c> is <c>metadata=k%2525201%3Dv%25252F1</c>.
    /// </summary>
    public static string EncodeMetadata(IReadOnlyDictionary<string, string> metadata)
    {
        static string Twice(string text) => Uri.EscapeDataString(Uri.EscapeDataString(text));
        return Uri.EscapeDataString(string.Join('&', metadata.Select(m => $"{Twice(m.Key)}={Twice(m.Value)}")));
    }

    /// <summary>Seconds as the wire wants them, rounded up so that nobody gets less than asked for.</summary>
    public static int WholeSeconds(TimeSpan time) => (int)Math.Clamp(Math.Ceiling(time.TotalSeconds), 0, int.MaxValue);

    private static string ListQuery(SandboxListQuery query, string? next)
    {
        var parts = new List<string> { $"limit={Math.Clamp(query.PageSize, 1, 100)}" };
        if (query.Metadata.Count > 0)
        {
            parts.Add("metadata=" + EncodeMetadata(query.Metadata));
        }

        if (query.States.Count > 0)
        {
            parts.Add("state=" + string.Join(',', query.States.Distinct().Select(s => s == SandboxState.Paused ? "paused" : "running")));
        }

        if (query.Template is { } template)
        {
            parts.Add("template=" + Uri.EscapeDataString(template));
        }

        if (query.StartedAfter is { } after)
        {
            parts.Add("startedAfter=" + Uri.EscapeDataString(after.UtcDateTime.ToString("O", System.Globalization.CultureInfo.InvariantCulture)));
        }

        if (query.OldestFirst)
        {
            parts.Add("order=asc");
        }

        if (next is not null)
        {
            parts.Add("nextToken=" + Uri.EscapeDataString(next));
        }

        return "?" + string.Join('&', parts);
    }

    private static bool Matches(SandboxInfo info, SandboxListQuery query) =>
        (query.States.Count == 0 || query.States.Contains(info.State))
        && (query.Template is not { } template || template == info.TemplateId || template == info.Alias)
        && (query.StartedAfter is not { } after || info.StartedAt > after);

    private static string FirstVersionQuery(SandboxListQuery query) => query.Metadata.Count == 0 ? "" : "?metadata=" + EncodeMetadata(query.Metadata);

    private static SandboxInfo InfoOf(SandboxInfoBody body, string doing)
    {
        if (!ServiceAddress.IsSandboxId(body.SandboxId))
        {
            throw new SandboxException(SandboxFault.Protocol, $"{doing} failed: the service gave no usable sandbox id.");
        }

        return new SandboxInfo
        {
            Id = body.SandboxId!,
            TemplateId = body.TemplateId ?? "",
            Alias = body.Alias,
            State = body.State == "paused" ? SandboxState.Paused : SandboxState.Running,
            StartedAt = body.StartedAt ?? default,
            EndAt = body.EndAt ?? default,
            Metadata = body.Metadata ?? [],
            CpuCount = body.CpuCount ?? 0,
            MemoryMegabytes = body.MemoryMegabytes ?? 0,
            DiskMegabytes = body.DiskMegabytes ?? 0,
            EnvdVersion = body.EnvdVersion ?? "",
            AllowInternetAccess = body.AllowInternetAccess,
            Domain = string.IsNullOrEmpty(body.Domain) ? null : body.Domain,
            OnTimeout = body.Lifecycle?.OnTimeout switch { "pause" => TimeoutAction.Pause, "kill" => TimeoutAction.Kill, _ => null },
            AutoResume = body.Lifecycle?.AutoResume,
        };
    }
}
