using System.IO.Compression;
using InterpreterKernel.SandboxHost.Agent;
using InterpreterKernel.SandboxHost.Files;
using InterpreterKernel.SandboxHost.Http;
using InterpreterKernel.SandboxHost.Sandboxes;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.StaticFiles;
using Microsoft.AspNetCore.WebUtilities;
using Microsoft.Net.Http.Headers;

namespace InterpreterKernel.SandboxHost.Envd;

/// <summary>One file as the answer to an upload lists it.</summary>
internal sealed record WrittenFile(string Name, string Path, string Type);

/// <summary>envd's <c>/files</c>: download, and upload as a raw body or as multipart (e2b-wire.md section 4.3).</summary>
internal sealed class FileRoutes
{
    private const int MaxParts = 10_000;

    private readonly FileExtensionContentTypeProvider _types = new();

    internal async Task HandleAsync(HttpContext context, LocalSandbox sandbox)
    {
        var query = context.Request.Query;
        var user = query["username"].ToString() is { Length: > 0 } named ? named : CallHeaders.User(context.Request.Headers);
        if (CallHeaders.Stranger(user) is { } refusal)
        {
            await Answers.ErrorAsync(context, 401, refusal);
            return;
        }

        var path = query["path"].ToString();
        try
        {
            await (context.Request.Method switch
            {
                "GET" => ReadAsync(context, sandbox, path),
                "POST" => WriteAsync(context, sandbox, path),
                _ => Answers.ErrorAsync(context, 405, "method not allowed"),
            });
        }
        catch (FileTaskException e) when (!context.Response.HasStarted)
        {
            var (status, message) = Describe(e, path);
            await Answers.ErrorAsync(context, status, message);
        }
        catch (AgentRefusedException e) when (!context.Response.HasStarted)
        {
            await Answers.ErrorAsync(context, 507, "the sandbox can't start another process: " + e.Message);
        }
        catch (Exception e) when (e is IOException or InvalidDataException && !context.Response.HasStarted && !context.RequestAborted.IsCancellationRequested)
        {
            // A multipart body that ends early, or gzip that is none. (A body cut off by its sender has aborted the request.)
            await Answers.ErrorAsync(context, 400, "error parsing the upload: " + e.Message);
        }
    }

    private async Task ReadAsync(HttpContext context, LocalSandbox sandbox, string path)
    {
        if (!IsPath(path))
        {
            await Answers.ErrorAsync(context, 400, "the query must have a path");
            return;
        }

        using var file = await FileTasks.OpenReadAsync(sandbox, LocalSandbox.Resolve(path), context.RequestAborted);
        var name = path[(path.LastIndexOf('/') + 1)..];
        var disposition = new ContentDispositionHeaderValue("inline");
        disposition.SetHttpFileName(name);
        context.Response.ContentType = _types.TryGetContentType(name, out var type) ? type : "application/octet-stream";
        context.Response.ContentLength = file.Length;
        context.Response.Headers.ContentDisposition = disposition.ToString();
        try
        {
            await file.CopyToAsync(context.Response.Body, 0, file.Length, context.RequestAborted);
        }
        catch (FileTaskException)
        {
            // The length was promised; only a broken connection tells the truth now.
            context.Abort();
        }
    }

    private static async Task WriteAsync(HttpContext context, LocalSandbox sandbox, string path)
    {
        if (path.Length > 0 && !IsPath(path))
        {
            await Answers.ErrorAsync(context, 400, "the path is not one that a file can have");
            return;
        }

        var written = new List<WrittenFile>();
        var body = Body(context.Request);
        if (MediaTypeHeaderValue.TryParse(context.Request.ContentType, out var type) && type.MediaType == "multipart/form-data")
        {
            var boundary = HeaderUtilities.RemoveQuotes(type.Boundary).Value;
            if (string.IsNullOrEmpty(boundary) || boundary.Length > 200)
            {
                await Answers.ErrorAsync(context, 400, "the multipart body has no boundary");
                return;
            }

            await WritePartsAsync(sandbox, new MultipartReader(boundary, body), path, written, context.RequestAborted);
        }
        else if (path.Length == 0)
        {
            await Answers.ErrorAsync(context, 400, "the query must have a path");
            return;
        }
        else
        {
            written.Add(await WriteOneAsync(sandbox, path, body, context.RequestAborted));
        }

        await Answers.JsonAsync(context, 200, written, HostJson.Default.ListWrittenFile);
    }

    private static async Task WritePartsAsync(LocalSandbox sandbox, MultipartReader parts, string path, List<WrittenFile> written, CancellationToken cancellation)
    {
        while (await parts.ReadNextSectionAsync(cancellation) is { } part)
        {
            if (!ContentDispositionHeaderValue.TryParse(part.ContentDisposition, out var disposition) || HeaderUtilities.RemoveQuotes(disposition.Name) != "file")
            {
                continue;
            }

            // The file name may be a whole path; the query's path goes before it.
            var name = disposition.FileNameStar.HasValue ? disposition.FileNameStar.Value : HeaderUtilities.RemoveQuotes(disposition.FileName).Value;
            var destination = path.Length > 0 ? path : name;
            if (!IsPath(destination) || written.Count == MaxParts)
            {
                throw new InvalidDataException(written.Count == MaxParts ? $"there are more than {MaxParts} files" : "a part has no file name");
            }

            written.Add(await WriteOneAsync(sandbox, destination!, part.Body, cancellation));
        }
    }

    private static async Task<WrittenFile> WriteOneAsync(LocalSandbox sandbox, string path, Stream body, CancellationToken cancellation)
    {
        var place = await FileTasks.WriteAsync(sandbox, LocalSandbox.Resolve(path), body, cancellation);
        return new WrittenFile(place[(place.LastIndexOf('/') + 1)..], place, "file");
    }

    private static Stream Body(HttpRequest request) => request.Headers.ContentEncoding.ToString() switch
    {
        "" or "identity" => request.Body,
        "gzip" => new GZipStream(request.Body, CompressionMode.Decompress),
        var other => throw new InvalidDataException($"the content encoding '{other}' is not known; send gzip or none"),
    };

    private static bool IsPath(string? path) => path is { Length: > 0 } && !path.Contains('\0') && !path.EndsWith('/');

    private static (int Status, string Message) Describe(FileTaskException e, string path) => e.Error switch
    {
        2 => (404, $"path '{path}' does not exist"),
        12 or 28 or 122 => (507, "not enough disk space available"),
        1 or 13 or 30 => (403, $"path '{path}': {e.Message}"),
        6 or 20 or 21 or 22 or 36 or 40 => (400, $"path '{path}': {e.Message}"),
        _ => (500, $"path '{path}': {e.Message}"),
    };
}
