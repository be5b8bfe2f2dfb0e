using System.Text.Json;

namespace InterpreterKernel.Kernel;

/// <summary>
/// The text of a cell where it is in an execute_request: the string <c>code</c> of a JSON object, still escaped. Lines of ours are taken out
/// in these bytes, so that everything else stays what the client sent.
/// </summary>
internal static class CellText
{
    /// <summary>Where the text is in the content, without its quotes. A key that is there twice counts as in Python: the last one.</summary>
    public static (int Start, int Length)? Find(ReadOnlySpan<byte> content)
    {
        (int, int)? found = null;
        try
        {
            var reader = new Utf8JsonReader(content);
            if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject)
            {
                return null;
            }

            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                var isCode = reader.ValueTextEquals("code"u8);
                reader.Read();
                if (isCode)
                {
                    found = reader.TokenType == JsonTokenType.String ? ((int)reader.TokenStartIndex + 1, reader.ValueSpan.Length) : null;
                }

                reader.Skip();
            }
        }
        catch (JsonException)
        {
            // A client's nonsense; the kernel will say so.
            return null;
        }

        return found;
    }

    /// <summary>The length of the first line of escaped text, without its end.</summary>
    public static int EndOfLine(ReadOnlySpan<byte> escaped)
    {
        for (var i = 0; i < escaped.Length; i++)
        {
            if (escaped[i] != '\\')
            {
                continue;
            }

            if (LineBreak(escaped[i..]) > 0)
            {
                return i;
            }

            i++;
        }

        return escaped.Length;
    }

    /// <summary>The length of the line break that escaped text begins with; 0 when it begins with none.</summary>
    public static int LineBreak(ReadOnlySpan<byte> escaped)
    {
        if (escaped.StartsWith("\\r\\n"u8))
        {
            return 4;
        }

        if (escaped.StartsWith("\\n"u8) || escaped.StartsWith("\\r"u8))
        {
            return 2;
        }

        return escaped.StartsWith("\\u000a"u8) || escaped.StartsWith("\\u000A"u8) || escaped.StartsWith("\\u000d"u8) || escaped.StartsWith("\\u000D"u8) ? 6 : 0;
    }

    /// <summary>Whether this line is a magic of this name: the name, then the end or white space.</summary>
    public static bool IsMagic(ReadOnlySpan<byte> line, ReadOnlySpan<byte> name) =>
        line.StartsWith(name) && (line.Length == name.Length || line[name.Length] == ' ' || line[name.Length..].StartsWith("\\t"u8));

    /// <summary>Whether the next line that is not empty begins with <c>%%</c>: nothing may stand before such a line.</summary>
    public static bool IsCellMagicNext(ReadOnlySpan<byte> rest)
    {
        while (true)
        {
            if (LineBreak(rest) is var length and > 0)
            {
                rest = rest[length..];
            }
            else if (rest.StartsWith(" "u8))
            {
                rest = rest[1..];
            }
            else
            {
                return rest.StartsWith("%%"u8);
            }
        }
    }
}
