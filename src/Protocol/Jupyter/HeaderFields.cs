using System.Text.Json;

namespace InterpreterKernel.Protocol.Jupyter;

/// <summary>The fields of a header that routing needs, read without building a document.</summary>
internal sealed record HeaderFields(string MessageType, string MessageId, string Session)
{
    private static readonly HeaderFields s_unreadable = new("", "", "");

    /// <summary>Reads what is there. A header that is no JSON object reads as one without fields: the caller decides what that means.</summary>
    internal static HeaderFields Read(ReadOnlySpan<byte> json)
    {
        string type = "", id = "", session = "";
        try
        {
            var reader = new Utf8JsonReader(json);
            if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject)
            {
                return s_unreadable;
            }

            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                if (reader.ValueTextEquals("msg_type"u8))
                {
                    type = TextOrEmpty(ref reader);
                }
                else if (reader.ValueTextEquals("msg_id"u8))
                {
                    id = TextOrEmpty(ref reader);
                }
                else if (reader.ValueTextEquals("session"u8))
                {
                    session = TextOrEmpty(ref reader);
                }
                else
                {
                    reader.Skip();
                }
            }
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            // InvalidOperationException: the text is not Unicode.
            return s_unreadable;
        }

        return new HeaderFields(type, id, session);
    }

    private static string TextOrEmpty(ref Utf8JsonReader reader)
    {
        reader.Read();
        if (reader.TokenType == JsonTokenType.String)
        {
            return reader.GetString()!;
        }

        reader.Skip();
        return "";
    }
}
