using System.IO.Compression;
using InterpreterKernel.SandboxHost.Files;
using InterpreterKernel.SandboxHost.Http;
using InterpreterKernel.SandboxHost.Sandboxes;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.StaticFiles;
using Microsoft.Net.Http.Headers;

namespace InterpreterKernel.SandboxHost.Envd;

/// <summary>
/// <c>GET /files</c>: the whole file or one range of it, unless it has not changed; packed with gzip only for those who ask
/// for nothing else (all of fetch's requests offer gzip; on one machine packing would be slower than sending).
/// </summary>
internal sealed class FileDownload
{
    private static readonly TimeSpan s_second = TimeSpan.FromSeconds(1);

    private readonly FileExtensionContentTypeProvider _types = new();

    internal async Task HandleAsync(HttpContext context, LocalSandbox sandbox, string path)
    {
        var headers = context.Request.GetTypedHeaders();
        if (Coding(headers.AcceptEncoding) is not { } coding)
        {
            await Answers.ErrorAsync(context, 406, "no acceptable encoding found: this host has gzip and identity");
            return;
        }

        using var file = await FileTasks.OpenReadAsync(sandbox, LocalSandbox.Resolve(path), context.RequestAborted);
        var changed = new DateTimeOffset(file.Changed.Ticks - (file.Changed.Ticks % s_second.Ticks), TimeSpan.Zero);
        var response = context.Response;
        response.Headers.AcceptRanges = "bytes";
        response.Headers.Vary = "Accept-Encoding";
        response.GetTypedHeaders().LastModified = changed;
        if (headers.IfUnmodifiedSince < changed)
        {
            await Answers.ErrorAsync(context, 412, $"path '{path}' has changed since");
            return;
        }

        if (headers.IfModifiedSince >= changed)
        {
            response.StatusCode = StatusCodes.Status304NotModified;
            return;
        }

        Describe(response, path);
        var (status, from, count) = Part(headers, changed, file.Length);
        switch (status)
        {
            case StatusCodes.Status416RangeNotSatisfiable:
                response.Headers.ContentRange = $"bytes */{file.Length}";
                await Answers.ErrorAsync(context, 416, "invalid range: failed to overlap");
                return;
            case StatusCodes.Status206PartialContent:
                response.Headers.ContentRange = $"bytes {from}-{from + count - 1}/{file.Length}";
                break;
            default:
                break;
        }

        response.StatusCode = status;
        try
        {
            if (coding == "gzip" && status == StatusCodes.Status200OK)
            {
                response.Headers.ContentEncoding = coding;
                await using var packed = new GZipStream(response.Body, CompressionLevel.Fastest);
                await file.CopyToAsync(packed, from, count, context.RequestAborted);
            }
            else
            {
                response.ContentLength = count;
                await file.CopyToAsync(response.Body, from, count, context.RequestAborted);
            }
        }
        catch (FileTaskException)
        {
            // The length, or a complete gzip, was promised; only a broken connection tells the truth now.
            context.Abort();
        }
    }

    private void Describe(HttpResponse response, string path)
    {
        var name = path[(path.LastIndexOf('/') + 1)..];
        var disposition = new ContentDispositionHeaderValue("inline");
        disposition.SetHttpFileName(name);
        response.ContentType = _types.TryGetContentType(name, out var type) ? type : "application/octet-stream";
        response.Headers.ContentDisposition = disposition.ToString();
    }

    /// <summary>The part that is asked for. More than one range, or what is no range of bytes, is answered by the whole file.</summary>
    private static (int Status, long From, long Count) Part(Microsoft.AspNetCore.Http.Headers.RequestHeaders headers, DateTimeOffset changed, long length)
    {
        var stale = headers.IfRange is { } condition && condition.LastModified != changed;
        if (length == 0 || stale || headers.Range is not { Unit.Value: "bytes", Ranges.Count: 1 } range)
        {
            return (StatusCodes.Status200OK, 0, length);
        }

        var (from, to) = range.Ranges.First() is var asked && asked.From is { } first
            ? (first, Math.Min(asked.To ?? long.MaxValue, length - 1))
            : (Math.Max(length - (asked.To ?? 0), 0), length - 1);
        return from <= to ? (StatusCodes.Status206PartialContent, from, to - from + 1) : (StatusCodes.Status416RangeNotSatisfiable, 0, 0);
    }

    /// <summary>The encoding of the answer: gzip when there is nothing else that is welcome, else none; null when neither is.</summary>
    private static string? Coding(IList<StringWithQualityHeaderValue> accepted)
    {
        double? Quality(string name) => accepted.LastOrDefault(c => c.Value.Equals(name, StringComparison.OrdinalIgnoreCase)) is { } found ? found.Quality ?? 1 : null;
        var others = Quality("*");
        var identity = Quality("identity") ?? others ?? 1;
        var gzip = Quality("gzip") ?? others ?? 0;
        var onlyGzip = accepted is [var only] && only.Value.Equals("gzip", StringComparison.OrdinalIgnoreCase);
        return gzip > 0 && (onlyGzip || identity == 0) ? "gzip" : identity > 0 ? "" : null;
    }
}
