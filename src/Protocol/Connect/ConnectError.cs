using System.Buffers;
using System.Text.Json;

namespace InterpreterKernel.Protocol.Connect;

/// <summary>
/// An error as the Connect protocol carries it: <c>{"code":"not_found","message":"…"}</c> as the body of a
/// unary answer, or inside the end-of-stream envelope of a stream (e2b-wire.md section 4.5).
/// </summary>
/// <param name="Code">What kind of failure it was.</param>
/// <param name="Message">The service's own words; may be empty.</param>
public sealed record ConnectError(ConnectCode Code, string Message)
{
    private static readonly (ConnectCode Code, string Name, int Http)[] s_codes =
    [
        (ConnectCode.Canceled, "canceled", 499),
        (ConnectCode.Unknown, "unknown", 500),
        (ConnectCode.InvalidArgument, "invalid_argument", 400),
        (ConnectCode.DeadlineExceeded, "deadline_exceeded", 504),
        (ConnectCode.NotFound, "not_found", 404),
        (ConnectCode.AlreadyExists, "already_exists", 409),
        (ConnectCode.PermissionDenied, "permission_denied", 403),
        (ConnectCode.ResourceExhausted, "resource_exhausted", 429),
        (ConnectCode.FailedPrecondition, "failed_precondition", 400),
        (ConnectCode.Aborted, "aborted", 409),
        (ConnectCode.OutOfRange, "out_of_range", 400),
        (ConnectCode.Unimplemented, "unimplemented", 501),
        (ConnectCode.Internal, "internal", 500),
        (ConnectCode.Unavailable, "unavailable", 503),
        (ConnectCode.DataLoss, "data_loss", 500),
        (ConnectCode.Unauthenticated, "unauthenticated", 401),
    ];

    /// <summary>The code's name on the wire, such as <c>not_found</c>.</summary>
    public string CodeName => NameOf(Code);

    /// <summary>The HTTP status that a unary answer with this error has.</summary>
    public int HttpStatus => Array.Find(s_codes, c => c.Code == Code).Http;

    /// <summary>The name on the wire of <paramref name="code"/>.</summary>
    public static string NameOf(ConnectCode code) => Array.Find(s_codes, c => c.Code == code).Name;

    /// <summary>The code called <paramref name="name"/> on the wire; an unknown name reads as <see cref="ConnectCode.Unknown"/>.</summary>
    public static ConnectCode CodeOf(string? name)
    {
        foreach (var (code, wireName, _) in s_codes)
        {
            if (wireName == name)
            {
                return code;
            }
        }

        return ConnectCode.Unknown;
    }

    /// <summary>
    /// Reads the failure of a call from an HTTP status and body. A body that is not a Connect error (a proxy's
    /// page, envd's <c>{"code":401,…}</c>) is read by its status, as the protocol's own table says.
    /// </summary>
    public static ConnectError FromHttp(int status, ReadOnlySpan<byte> body)
    {
        if (TryParse(body) is { } error)
        {
            return error;
        }

        var code = status switch
        {
            400 => ConnectCode.Internal,
            401 => ConnectCode.Unauthenticated,
            403 => ConnectCode.PermissionDenied,
            404 => ConnectCode.Unimplemented,
            429 or 502 or 503 or 504 => ConnectCode.Unavailable,
            _ => ConnectCode.Unknown,
        };
        return new ConnectError(code, MessageIn(body) ?? $"HTTP status {status}");
    }

    /// <summary>Reads <c>{"code":"…","message":"…"}</c>; null when it is anything else.</summary>
    public static ConnectError? TryParse(ReadOnlySpan<byte> json)
    {
        try
        {
            var reader = new Utf8JsonReader(json);
            using var document = JsonDocument.ParseValue(ref reader);
            return FromElement(document.RootElement);
        }
        catch (JsonException)
        {
            return null;
        }
    }

    /// <summary>The error as a unary answer's body.</summary>
    public byte[] ToJson()
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(buffer))
        {
            Write(writer);
        }

        return buffer.WrittenSpan.ToArray();
    }

    internal static ConnectError? FromElement(JsonElement element)
    {
        if (element.ValueKind != JsonValueKind.Object
            || !element.TryGetProperty("code", out var code)
            || code.ValueKind != JsonValueKind.String)
        {
            return null;
        }

        var message = element.TryGetProperty("message", out var m) && m.ValueKind == JsonValueKind.String ? m.GetString()! : "";
        return new ConnectError(CodeOf(code.GetString()), message);
    }

    internal void Write(Utf8JsonWriter writer)
    {
        writer.WriteStartObject();
        writer.WriteString("code", CodeName);
        writer.WriteString("message", Message);
        writer.WriteEndObject();
    }

    private static string? MessageIn(ReadOnlySpan<byte> body)
    {
        try
        {
            var reader = new Utf8JsonReader(body);
            using var document = JsonDocument.ParseValue(ref reader);
            return document.RootElement.ValueKind == JsonValueKind.Object
                && document.RootElement.TryGetProperty("message", out var m)
                && m.ValueKind == JsonValueKind.String
                ? m.GetString()
                : null;
        }
        catch (JsonException)
        {
            return null;
        }
    }
}
