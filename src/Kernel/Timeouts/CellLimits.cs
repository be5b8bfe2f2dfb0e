using System.Globalization;
using System.Text.Json;
using InterpreterKernel.Kernel.Configuration;
using InterpreterKernel.Protocol.Jupyter;

namespace InterpreterKernel.Kernel.Timeouts;

/// <summary>How long something may run, and who said so.</summary>
/// <param name="Time">The limit.</param>
/// <param name="Source">For people: <c>%%timeout</c>, <c>cellTimeout</c>, <c>the cell's metadata</c>.</param>
/// <param name="IsShared">It is the limit of all cells of the notebook together.</param>
internal readonly record struct Limit(TimeSpan Time, string Source, bool IsShared = false);

/// <summary>
/// What one execute_request says about limits. The magic on its first line is the user's own word and replaces what was configured; metadata
/// comes with the notebook, from whomever that is, so it can only narrow.
/// </summary>
/// <param name="Cell">How long this cell may run; null without limit.</param>
/// <param name="Notebook">A limit for all cells together that came with it.</param>
/// <param name="Notice">What is wrong with what it says; the user should see it.</param>
internal sealed record CellLimits(Limit? Cell, Limit? Notebook, string? Notice)
{
    // metadata of execute_request: { "timeout": 30, "interpreter_kernel": { "timeout": "30s", "notebookTimeout": "10m" } }
    // JupyterLab sends the whole metadata of the cell (jupyter-wire.md section 3.8); nbclient sends none.
    private const string Section = "interpreter_kernel";
    private const string CellKey = "timeout";
    private const string NotebookKey = "notebookTimeout";
    private const string MetadataSource = "the cell's metadata";

    /// <summary>Reads a request. What it says wrongly counts as not said.</summary>
    /// <param name="request">An execute_request.</param>
    /// <param name="magic">The magic on its first line, if there is one.</param>
    /// <param name="configured">What holds for cells that say nothing.</param>
    public static CellLimits Read(JupyterMessage request, TimeoutMagic? magic, Limit? configured)
    {
        var limits = new CellLimits(configured, null, null);
        if (request.Metadata.Span.IndexOf("imeout"u8) >= 0)
        {
            limits = limits.NarrowedBy(request.Metadata);
        }

        return magic switch
        {
            { IsNone: true } => limits with { Cell = null },
            { Limit: { } limit } => limits with { Cell = new Limit(limit, TimeoutMagic.Name) },
            { Argument: var wrong } => limits with
            {
                Notice = $"{TimeoutMagic.Name}: '{wrong}' is no duration such as 30s, 5m or none, so this line was left to the kernel.",
            },
            null => limits,
        };
    }

    private CellLimits NarrowedBy(ReadOnlyMemory<byte> metadata)
    {
        try
        {
            using var document = JsonDocument.Parse(metadata);
            var root = document.RootElement;
            if (root.ValueKind != JsonValueKind.Object)
            {
                return this;
            }

            // The plain key is common property: what is no duration there is somebody else's.
            var limits = this;
            if (root.TryGetProperty(CellKey, out var plain) && TryRead(plain, out var time))
            {
                limits = limits with { Cell = Shorter(limits.Cell, new Limit(time, MetadataSource)) };
            }

            if (!root.TryGetProperty(Section, out var ours) || ours.ValueKind != JsonValueKind.Object)
            {
                return limits;
            }

            if (ours.TryGetProperty(CellKey, out var cell))
            {
                limits = TryRead(cell, out time)
                    ? limits with { Cell = Shorter(limits.Cell, new Limit(time, MetadataSource)) }
                    : limits with { Notice = Wrong(CellKey, cell) };
            }

            if (ours.TryGetProperty(NotebookKey, out var notebook))
            {
                limits = TryRead(notebook, out time)
                    ? limits with { Notebook = new Limit(time, "the notebook's metadata", IsShared: true) }
                    : limits with { Notice = Wrong(NotebookKey, notebook) };
            }

            return limits;
        }
        catch (JsonException)
        {
            // A client's nonsense; the kernel will say so.
            return this;
        }
    }

    private static Limit Shorter(Limit? a, Limit b) => a is { } known && known.Time <= b.Time ? known : b;

    private static bool TryRead(JsonElement value, out TimeSpan time)
    {
        time = default;
        return value.ValueKind switch
        {
            JsonValueKind.Number => value.TryGetDouble(out var seconds)
                && Duration.TryParse(seconds.ToString("0.######", CultureInfo.InvariantCulture), out time),
            JsonValueKind.String => Duration.TryParse(value.GetString()!, out time),
            _ => false,
        };
    }

    private static string Wrong(string key, JsonElement value)
    {
        var text = value.GetRawText();
        return $"metadata {Section}.{key}: {(text.Length > 60 ? text[..60] + "…" : text)} is no duration such as 30 or \"5m\", so it was ignored.";
    }
}
