using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Microsoft.AspNetCore.Http;

namespace InterpreterKernel.SandboxHost.Http;

/// <summary>Reads the JSON bodies of the control plane.</summary>
internal static class JsonBody
{
    private const int MaxBody = 1 << 20;

    /// <summary>Reads a JSON body; null when an error was answered already. An empty body is <paramref name="absent"/> where that is allowed.</summary>
    internal static async Task<T?> ReadAsync<T>(HttpContext context, JsonTypeInfo<T> type, T? absent = null)
        where T : class
    {
        using var body = new MemoryStream();
        var buffer = new byte[4096];
        while (await context.Request.Body.ReadAsync(buffer, context.RequestAborted) is > 0 and var count)
        {
            if (body.Length + count > MaxBody)
            {
                await Answers.ErrorAsync(context, 413, $"the body is larger than {MaxBody} bytes");
                return null;
            }

            body.Write(buffer, 0, count);
        }

        if (body.Length == 0 && absent is not null)
        {
            return absent;
        }

        try
        {
            if (JsonSerializer.Deserialize(body.GetBuffer().AsSpan(0, (int)body.Length), type) is { } value)
            {
                return value;
            }

            await Answers.ErrorAsync(context, 400, "Error when parsing request: the body must be a JSON object");
        }
        catch (JsonException e)
        {
            await Answers.ErrorAsync(context, 400, "Error when parsing request: " + e.Message);
        }

        return null;
    }
}
