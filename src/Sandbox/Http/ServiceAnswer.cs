using System.Buffers;
using System.Globalization;
using System.Net.Http.Headers;

namespace InterpreterKernel.Sandbox.Http;

/// <summary>An answer, read whole and within a bound.</summary>
internal sealed class ServiceAnswer
{
    /// <summary>No success body of the control plane or of a unary call comes near this.</summary>
    public const int MaxBody = 32 * 1024 * 1024;

    /// <summary>More than this of an error says nothing new.</summary>
    public const int MaxErrorBody = 64 * 1024;

    private ServiceAnswer(int status, byte[] body, HttpResponseHeaders headers)
    {
        Status = status;
        Body = body;
        Headers = headers;
    }

    public int Status { get; }

    public byte[] Body { get; }

    public HttpResponseHeaders Headers { get; }

    public bool IsSuccess => Status is >= 200 and < 300;

    /// <summary>Whole seconds only, as in E2B's SDKs: a date in this header is a proxy's, not the service's.</summary>
    public TimeSpan? RetryAfter =>
        Header("Retry-After") is { } text && uint.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var seconds)
            ? TimeSpan.FromSeconds(Math.Max(1u, seconds))
            : null;

    public string? Header(string name) => Headers.TryGetValues(name, out var values) ? values.FirstOrDefault() : null;

    public static async Task<ServiceAnswer> ReadAsync(HttpResponseMessage response, CancellationToken ct)
    {
        var status = (int)response.StatusCode;
        var body = status is >= 200 and < 300
            ? await ReadBodyAsync(response, MaxBody, cut: false, ct)
            : await ReadBodyAsync(response, MaxErrorBody, cut: true, ct);
        return new ServiceAnswer(status, body, response.Headers);
    }

    /// <summary>Reads up to <paramref name="limit"/> bytes; what is over it is cut off, or is an error.</summary>
    public static async Task<byte[]> ReadBodyAsync(HttpResponseMessage response, int limit, bool cut, CancellationToken ct, Action? progress = null)
    {
        using var stream = await response.Content.ReadAsStreamAsync(ct);
        var buffer = new ArrayBufferWriter<byte>((int)Math.Clamp(response.Content.Headers.ContentLength ?? 4096, 256, 1024 * 1024));
        while (true)
        {
            var read = await stream.ReadAsync(buffer.GetMemory(4096), ct);
            if (read == 0)
            {
                return buffer.WrittenSpan.ToArray();
            }

            progress?.Invoke();
            buffer.Advance(read);
            if (buffer.WrittenCount > limit)
            {
                return cut
                    ? buffer.WrittenSpan[..limit].ToArray()
                    : throw new InvalidDataException($"the answer is longer than {limit} bytes");
            }
        }
    }
}
