using System.Text;
using System.Text.Json;

namespace InterpreterKernel.Sandbox.Http;

/// <summary>
/// What an error body says. The control plane, envd and the edge all answer <c>{"code":…,"message":…}</c>, with small
/// differences; proxies answer anything.
/// </summary>
internal sealed record ServiceWords(string? Message, int? NumericCode, string? Code, bool NamesSandbox, bool NamesPort)
{
    private const int MaxLength = 600;

    public static ServiceWords Of(ReadOnlySpan<byte> body, SandboxSecrets secrets)
    {
        try
        {
            var reader = new Utf8JsonReader(body);
            using var document = JsonDocument.ParseValue(ref reader);
            var root = document.RootElement;
            if (root.ValueKind != JsonValueKind.Object)
            {
                return new ServiceWords(null, null, null, false, false);
            }

            var code = root.TryGetProperty("code", out var c) ? c : default;
            return new ServiceWords(
                Clean(Text(root, "message"), secrets),
                code.ValueKind == JsonValueKind.Number && code.TryGetInt32(out var number) ? number : null,
                Clean(Text(root, "error_code") ?? (code.ValueKind == JsonValueKind.String ? code.GetString() : null), secrets),
                root.TryGetProperty("sandboxId", out _),
                root.TryGetProperty("port", out _));
        }
        catch (JsonException)
        {
            // Not ours to read: a proxy's page. Short plain text may still help; markup does not.
            var text = Encoding.UTF8.GetString(body[..Math.Min(body.Length, MaxLength)]);
            return new ServiceWords(text.Contains('<', StringComparison.Ordinal) ? null : Clean(text, secrets), null, null, false, false);
        }
    }

    /// <summary>One line, bounded, without control characters and without secrets.</summary>
    public static string? Clean(string? text, SandboxSecrets secrets)
    {
        if (string.IsNullOrWhiteSpace(text))
        {
            return null;
        }

        var line = new StringBuilder(Math.Min(text.Length, MaxLength));
        foreach (var c in secrets.Hide(text.Trim()))
        {
            if (line.Length == MaxLength)
            {
                line.Append('…');
                break;
            }

            line.Append(char.IsControl(c) ? ' ' : c);
        }

        return line.ToString();
    }

    private static string? Text(JsonElement root, string name) =>
        root.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;
}

/// <summary>The strings that must not appear in any text, even when a service repeats them to us.</summary>
internal readonly record struct SandboxSecrets(string? ApiKey, string? EnvdToken = null, string? TrafficToken = null)
{
    public string Hide(string text) => Without(Without(Without(text, ApiKey), EnvdToken), TrafficToken);

    public override string ToString() => "secrets";

    // A "key" of a letter or two, as used against a local server, would blacken half the text.
    private static string Without(string text, string? secret) =>
        secret is { Length: >= 4 } ? text.Replace(secret, "[hidden]", StringComparison.Ordinal) : text;
}
