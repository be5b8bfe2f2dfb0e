using System.Text;
using System.Text.Json;
using InterpreterKernel.Protocol.Jupyter;

namespace InterpreterKernel.Kernel.Magics;

/// <summary>
/// The lines of ours at the top of a cell, in whatever language the rest is: <c>%sandbox …</c>, empty ones, and one <c>%%timeout</c>
/// anywhere among them. They are run here, in order; the kernel gets the same request with those lines blanked, so that line
/// numbers hold. A <c>%sandbox</c> further down is not ours.
/// </summary>
internal sealed class MagicHeader
{
    private const int MostLines = 64;
    private const int LongestLine = 8192;

    private readonly List<Line> _lines;
    private readonly int _end;

    private MagicHeader(List<Line> lines, int end, IReadOnlyList<string> commands)
    {
        _lines = lines;
        _end = end;
        Commands = commands;
    }

    private enum LineKind
    {
        Sandbox,
        Timeout,
        Empty,
    }

    /// <summary>What stands behind <c>%sandbox</c>, line for line.</summary>
    public IReadOnlyList<string> Commands { get; }

    /// <summary>Finds the lines at the top of an execute_request; null when none of them is a <c>%sandbox</c>.</summary>
    public static MagicHeader? Find(JupyterMessage request)
    {
        var content = request.Content.Span;
        if (content.IndexOf("%sandbox"u8) < 0 || CellText.Find(content) is not var (start, length))
        {
            return null;
        }

        List<Line> lines = [];
        List<string> commands = [];
        var (at, end) = (start, start);
        while (at < start + length && lines.Count < MostLines)
        {
            var rest = content[at..(start + length)];
            var line = rest[..CellText.EndOfLine(rest)];
            var lineBreak = CellText.LineBreak(rest[line.Length..]);
            LineKind kind;
            if (CellText.IsMagic(line, "%sandbox"u8))
            {
                kind = LineKind.Sandbox;
                commands.Add(TextOf(line["%sandbox"u8.Length..]));
            }
            else if (CellText.IsMagic(line, "%%timeout"u8) && !lines.Exists(l => l.Kind == LineKind.Timeout))
            {
                kind = LineKind.Timeout;
            }
            else if (line.IndexOfAnyExcept((byte)' ') < 0)
            {
                kind = LineKind.Empty;
            }
            else
            {
                break;
            }

            lines.Add(new Line(kind, at, line.Length, lineBreak));
            at += line.Length + lineBreak;
            end = at - lineBreak;
        }

        return commands.Count == 0 ? null : new MagicHeader(lines, end, commands);
    }

    /// <summary>The request as the kernel gets it.</summary>
    /// <param name="request">The request in which the lines were found.</param>
    /// <param name="language">The kernel's language, where known.</param>
    public JupyterMessage Blank(JupyterMessage request, string? language)
    {
        // As for %%timeout: IPython strips empty lines off the top and would count from the next one, so they become comments; but
        // nothing may stand before another cell magic.
        var content = request.Content.Span;
        var comments = language == "python" && !CellText.IsCellMagicNext(content[_end..]);
        using var blanked = new MemoryStream(content.Length + (2 * _lines.Count));
        blanked.Write(content[.._lines[0].Start]);

        // %%timeout counts on the first line only.
        var order = _lines.OrderBy(l => l.Kind == LineKind.Timeout ? 0 : 1).ToList();
        for (var i = 0; i < _lines.Count; i++)
        {
            var line = order[i];
            if (line.Kind == LineKind.Sandbox && comments)
            {
                blanked.Write("# "u8);
            }

            if (line.Kind == LineKind.Timeout || (line.Kind == LineKind.Sandbox && comments))
            {
                blanked.Write(content.Slice(line.Start, line.Length));
            }

            if (i < _lines.Count - 1)
            {
                blanked.Write(content.Slice(_lines[i].Start + _lines[i].Length, _lines[i].Break));
            }
        }

        blanked.Write(content[_end..]);
        return request.WithContent(blanked.ToArray());
    }

    private static string TextOf(ReadOnlySpan<byte> escaped)
    {
        if (escaped.Length > LongestLine)
        {
            // Refused as unknown, with its beginning.
            escaped = escaped[..60];
        }

        try
        {
            var reader = new Utf8JsonReader((byte[])[(byte)'"', .. escaped, (byte)'"']);
            return reader.Read() ? reader.GetString()!.Trim() : "";
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            // Half a character, or half an escape of a line that was cut.
            return Encoding.UTF8.GetString(escaped).Trim();
        }
    }

    private readonly record struct Line(LineKind Kind, int Start, int Length, int Break);
}
