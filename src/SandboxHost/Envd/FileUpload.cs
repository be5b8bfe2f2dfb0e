using System.IO.Compression;
using InterpreterKernel.SandboxHost.Files;
using InterpreterKernel.SandboxHost.Http;
using InterpreterKernel.SandboxHost.Sandboxes;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.WebUtilities;
using Microsoft.Net.Http.Headers;

namespace InterpreterKernel.SandboxHost.Envd;

/// <summary><c>POST /files</c>: a raw body as one file, or the parts of a form as many. Each file is written whole or not at all.</summary>
internal static class FileUpload
{
    private const int MaxParts = 10_000;
    private const int MaxBoundary = 200;

    internal static async Task HandleAsync(HttpContext context, LocalSandbox sandbox, string path)
    {
        var written = new List<WrittenFile>();
        var body = Body(context.Request);
        var metadata = FileMetadata.Read(context.Request.Headers);
        var caller = context.RequestAborted;
        async Task WriteAsync(string destination, Stream content)
        {
            var place = await FileTasks.WriteAsync(sandbox, LocalSandbox.Resolve(destination), metadata, content, caller);
            written.Add(WrittenFile.At(place, metadata));
        }

        if (MediaTypeHeaderValue.TryParse(context.Request.ContentType, out var type) && type.MediaType == "multipart/form-data")
        {
            var boundary = HeaderUtilities.RemoveQuotes(type.Boundary).Value;
            if (string.IsNullOrEmpty(boundary) || boundary.Length > MaxBoundary)
            {
                await Answers.ErrorAsync(context, 400, "the multipart body has no boundary");
                return;
            }

            await ReadPartsAsync(new MultipartReader(boundary, body), path, WriteAsync, caller);
        }
        else if (path.Length == 0)
        {
            await Answers.ErrorAsync(context, 400, "the query must have a path");
            return;
        }
        else
        {
            await WriteAsync(path, body);
        }

        await Answers.JsonAsync(context, 200, written, HostJson.Default.ListWrittenFile);
    }

    private static async Task ReadPartsAsync(MultipartReader parts, string path, Func<string, Stream, Task> write, CancellationToken cancellation)
    {
        var count = 0;
        while (await parts.ReadNextSectionAsync(cancellation) is { } part)
        {
            if (!ContentDispositionHeaderValue.TryParse(part.ContentDisposition, out var disposition) || HeaderUtilities.RemoveQuotes(disposition.Name) != "file")
            {
                continue;
            }

            // The file name may be a whole path; the query's path goes before it.
            var name = disposition.FileNameStar.HasValue ? disposition.FileNameStar.Value : HeaderUtilities.RemoveQuotes(disposition.FileName).Value;
            var destination = path.Length > 0 ? path : name;
            if (!FileRoutes.IsPath(destination) || count++ == MaxParts)
            {
                throw new InvalidDataException(count > MaxParts ? $"there are more than {MaxParts} files" : "a part has no file name");
            }

            await write(destination!, part.Body);
        }
    }

    private static Stream Body(HttpRequest request) => request.Headers.ContentEncoding.ToString() switch
    {
        "" or "identity" => request.Body,
        "gzip" => new GZipStream(request.Body, CompressionMode.Decompress),
        var other => throw new InvalidDataException($"the content encoding '{other}' is not known; send gzip or none"),
    };
}
