using System.Text;
using InterpreterKernel.Kernel.Configuration;
using InterpreterKernel.Protocol.Jupyter;

namespace InterpreterKernel.Kernel.Timeouts;

/// <summary>
/// <c>%%timeout 30s</c> on the first line of a cell, in whatever language the rest is. The kernel never sees it: the line is blanked in the
/// bytes of the request, so that line numbers hold and everything else is what the client sent.
/// </summary>
/// <param name="Argument">What stands behind the name.</param>
internal sealed record TimeoutMagic(string Argument)
{
    /// <summary>How it is written.</summary>
    public const string Name = "%%timeout";

    // The content of an execute_request: a JSON object whose "code" is the cell's text. Positions are those of the escaped text.
    private (int Start, int Length) _line;

    /// <summary>The limit it sets; null when the argument is none.</summary>
    public TimeSpan? Limit => Duration.TryParse(Argument, out var time) ? time : null;

    /// <summary>Whether it takes the limit of this cell away.</summary>
    public bool IsNone => Argument == Duration.None;

    /// <summary>Finds the magic on the first line of an execute_request.</summary>
    public static TimeoutMagic? Find(JupyterMessage request)
    {
        var content = request.Content.Span;
        if (content.IndexOf("%%timeout"u8) < 0 || CellText.Find(content) is not var (start, length))
        {
            return null;
        }

        var code = content.Slice(start, length);
        var line = code[..CellText.EndOfLine(code)];
        if (!CellText.IsMagic(line, "%%timeout"u8))
        {
            return null;
        }

        var argument = line["%%timeout"u8.Length..];

        // Escapes other than of a tab are part of no duration; they show in the notice as they are.
        var text = Encoding.UTF8.GetString(argument).Replace("\\t", " ", StringComparison.Ordinal).Trim();
        return new TimeoutMagic(text.Length > 60 ? text[..60] + "…" : text) { _line = (start, line.Length) };
    }

    /// <summary>The request as the kernel gets it. A magic that says nothing we understand stays where it is.</summary>
    /// <param name="request">The request in which the magic was found.</param>
    /// <param name="language">The kernel's language, where known.</param>
    public JupyterMessage Blank(JupyterMessage request, string? language)
    {
        if (Limit is null && !IsNone)
        {
            return request;
        }

        // IPython strips empty lines off the top of a cell and would count from the next one. A comment stays, but nothing
        // may stand before another cell magic.
        var content = request.Content.Span;
        var rest = content[(_line.Start + _line.Length)..];
        byte[] blanked = language == "python" && !CellText.IsCellMagicNext(rest)
            ? [.. content[.._line.Start], .. "# "u8, .. content[_line.Start..]]
            : [.. content[.._line.Start], .. rest];
        return request.WithContent(blanked);
    }
}
