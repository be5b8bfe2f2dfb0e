using System.Globalization;
using System.Text;
using InterpreterKernel.SandboxHost.Sandboxes;
using Microsoft.AspNetCore.Http;

namespace InterpreterKernel.SandboxHost.Rest;

/// <summary>
/// The query of <c>GET /v2/sandboxes</c>: filters, order and paging. The cursor is opaque to clients; it is the base64url
/// of the start time and id of the last sandbox of a page.
/// </summary>
internal sealed record SandboxListing
{
    private const int MaxPage = 100;

    internal bool Running { get; private init; } = true;

    private bool Paused { get; init; } = true;

    private IReadOnlyList<KeyValuePair<string, string>> Metadata { get; init; } = [];

    private bool Ascending { get; init; }

    private DateTimeOffset? StartedAfter { get; init; }

    private string? Template { get; init; }

    private int Limit { get; init; } = MaxPage;

    private (DateTimeOffset Start, string Id)? Cursor { get; init; }

    /// <summary>Reads the query. The second value says what is wrong with it.</summary>
    internal static (SandboxListing? Listing, string? Fault) Parse(IQueryCollection query)
    {
        var listing = new SandboxListing();
        var states = query["state"].SelectMany(s => (s ?? "").Split(',', StringSplitOptions.RemoveEmptyEntries)).ToList();
        if (states.Any(s => s is not ("running" or "paused")))
        {
            return (null, "validation error: state must be running or paused");
        }

        listing = listing with { Running = states.Count == 0 || states.Contains("running"), Paused = states.Count == 0 || states.Contains("paused") };
        if (query["metadata"].ToString() is { Length: > 0 } metadata)
        {
            listing = listing with { Metadata = ParseMetadata(metadata) };
        }

        switch (query["order"].ToString())
        {
            case "" or "desc":
                break;
            case "asc":
                listing = listing with { Ascending = true };
                break;
            default:
                return (null, "validation error: order must be asc or desc");
        }

        if (query["startedAfter"].ToString() is { Length: > 0 } after)
        {
            if (!DateTimeOffset.TryParse(after, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out var time))
            {
                return (null, "validation error: startedAfter must be an RFC 3339 time");
            }

            listing = listing with { StartedAfter = time };
        }

        if (query["template"].ToString() is { Length: > 0 } template)
        {
            listing = listing with { Template = template };
        }

        if (query["limit"].ToString() is { Length: > 0 } text)
        {
            if (!int.TryParse(text, CultureInfo.InvariantCulture, out var limit) || limit is < 1 or > MaxPage)
            {
                return (null, $"validation error: limit must be 1 to {MaxPage}");
            }

            listing = listing with { Limit = limit };
        }

        if (query["nextToken"].ToString() is { Length: > 0 } token)
        {
            if (ParseCursor(token) is not { } cursor)
            {
                return (null, "Invalid next token");
            }

            listing = listing with { Cursor = cursor };
        }

        return (listing, null);
    }

    /// <summary>
    /// E2B's clients encode each part, then the whole, before the query's own encoding: <c>{"k 1":"v/1"}</c> comes here
    /// as <c>k%25201%3Dv%252F1</c>.
    /// </summary>
    internal static IReadOnlyList<KeyValuePair<string, string>> ParseMetadata(string text) =>
        [.. Uri.UnescapeDataString(text).Split('&', StringSplitOptions.RemoveEmptyEntries).Select(pair =>
        {
            var parts = pair.Split('=', 2);
            return KeyValuePair.Create(Uri.UnescapeDataString(parts[0]), parts.Length == 2 ? Uri.UnescapeDataString(parts[1]) : "");
        })];

    /// <summary>What the first version of the route lists: no paused ones, and no pages.</summary>
    internal SandboxListing AllRunning() => this with { Running = true, Paused = false, Limit = int.MaxValue - 1, Cursor = null };

    /// <summary>The page, and the cursor of the next one when there is more.</summary>
    internal (IReadOnlyList<LocalSandbox> Page, string? Next) Select(IEnumerable<LocalSandbox> sandboxes)
    {
        var matching = sandboxes.Where(Matches);
        var ordered = Ascending
            ? matching.OrderBy(s => s.StartedAt).ThenBy(s => s.Id, StringComparer.Ordinal)
            : matching.OrderByDescending(s => s.StartedAt).ThenByDescending(s => s.Id, StringComparer.Ordinal);
        var rest = ordered.Where(IsBehindCursor).Take(Limit + 1).ToList();
        if (rest.Count <= Limit)
        {
            return (rest, null);
        }

        rest.RemoveAt(Limit);
        var last = rest[^1];
        var next = $"{last.StartedAt.UtcTicks.ToString(CultureInfo.InvariantCulture)}__{last.Id}";
        return (rest, Convert.ToBase64String(Encoding.UTF8.GetBytes(next)).TrimEnd('=').Replace('+', '-').Replace('/', '_'));
    }

    private static (DateTimeOffset Start, string Id)? ParseCursor(string token)
    {
        var base64 = token.Replace('-', '+').Replace('_', '/').TrimEnd('=');
        var bytes = new byte[token.Length];
        if (!Convert.TryFromBase64String(base64.PadRight((base64.Length + 3) / 4 * 4, '='), bytes, out var count))
        {
            return null;
        }

        return Encoding.UTF8.GetString(bytes, 0, count).Split("__") is [var ticks, var id]
            && long.TryParse(ticks, CultureInfo.InvariantCulture, out var time)
            && time >= 0 && time <= DateTimeOffset.MaxValue.UtcTicks
            ? (new DateTimeOffset(time, TimeSpan.Zero), id)
            : null;
    }

    private bool Matches(LocalSandbox sandbox) =>
        (sandbox.State == SandboxState.Running ? Running : Paused)
        && (Template is null || sandbox.Request.TemplateId == Template)
        && (StartedAfter is null || sandbox.StartedAt > StartedAfter)
        && Metadata.All(pair => sandbox.Request.Metadata.TryGetValue(pair.Key, out var value) && value == pair.Value);

    private bool IsBehindCursor(LocalSandbox sandbox)
    {
        if (Cursor is not { } cursor)
        {
            return true;
        }

        var order = sandbox.StartedAt.UtcTicks.CompareTo(cursor.Start.UtcTicks);
        order = order != 0 ? order : string.CompareOrdinal(sandbox.Id, cursor.Id);
        return Ascending ? order > 0 : order < 0;
    }
}
