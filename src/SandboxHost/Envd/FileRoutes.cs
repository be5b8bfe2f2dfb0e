using InterpreterKernel.SandboxHost.Agent;
using InterpreterKernel.SandboxHost.Files;
using InterpreterKernel.SandboxHost.Http;
using InterpreterKernel.SandboxHost.Sandboxes;
using Microsoft.AspNetCore.Http;

namespace InterpreterKernel.SandboxHost.Envd;

/// <summary>One file as the answer to an upload lists it.</summary>
internal sealed record WrittenFile(string Name, string Path, string Type, IReadOnlyDictionary<string, string>? Metadata)
{
    internal static WrittenFile At(string path, IReadOnlyDictionary<string, string>? metadata = null) =>
        new(path[(path.LastIndexOf('/') + 1)..], path, "file", metadata is { Count: > 0 } ? metadata : null);
}

/// <summary>The body of <c>POST /files/compose</c>.</summary>
internal sealed record ComposeBody(
    [property: System.Text.Json.Serialization.JsonPropertyName("source_paths")] List<string>? SourcePaths,
    string? Destination,
    string? Username);

/// <summary>envd's <c>/files</c> (e2b-wire.md section 4.3), and what its failures are in HTTP.</summary>
internal sealed class FileRoutes
{
    // PATH_MAX of Linux, with its closing zero.
    private const int MaxPath = 4096;
    private const int MaxSources = 10_000;

    private readonly FileDownload _download = new();

    internal Task HandleAsync(HttpContext context, LocalSandbox sandbox)
    {
        var query = context.Request.Query;
        var user = query["username"].ToString() is { Length: > 0 } named ? named : CallHeaders.User(context.Request.Headers);
        var path = query["path"].ToString();
        return AnswerAsync(context, user, path, () => context.Request.Method switch
        {
            "GET" when IsPath(path) => _download.HandleAsync(context, sandbox, path),
            "POST" when path.Length == 0 || IsPath(path) => FileUpload.HandleAsync(context, sandbox, path),
            "GET" or "POST" => Answers.ErrorAsync(context, 400, "the query must have a path that a file can have"),
            _ => Answers.ErrorAsync(context, 405, "method not allowed"),
        });
    }

    /// <summary>Joins files that were uploaded in parts.</summary>
    internal static async Task ComposeAsync(HttpContext context, LocalSandbox sandbox)
    {
        if (context.Request.Method != "POST")
        {
            await Answers.ErrorAsync(context, 405, "method not allowed");
            return;
        }

        if (await JsonBody.ReadAsync(context, HostJson.Default.ComposeBody) is not { } body)
        {
            return;
        }

        if (body.SourcePaths is not { Count: > 0 and <= MaxSources } sources || !sources.TrueForAll(IsPath) || !IsPath(body.Destination))
        {
            await Answers.ErrorAsync(context, 400, $"source_paths must be 1 to {MaxSources} paths of files, and destination must be another");
            return;
        }

        await AnswerAsync(context, body.Username is { Length: > 0 } user ? user : null, string.Join(", ", sources.Take(5)), async () =>
        {
            var place = await FileTasks.ComposeAsync(sandbox, LocalSandbox.Resolve(body.Destination!), sources.Select(LocalSandbox.Resolve), context.RequestAborted);
            await Answers.JsonAsync(context, 200, WrittenFile.At(place), HostJson.Default.WrittenFile);
        });
    }

    internal static bool IsPath(string? path) =>
        path is { Length: > 0 and < MaxPath } && !path.Contains('\0') && !path.EndsWith('/') && System.Text.Encoding.UTF8.GetByteCount(path) < MaxPath;

    private static async Task AnswerAsync(HttpContext context, string? user, string path, Func<Task> answer)
    {
        if (CallHeaders.Stranger(user) is { } refusal)
        {
            await Answers.ErrorAsync(context, 401, refusal);
            return;
        }

        try
        {
            await answer();
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

    private static (int Status, string Message) Describe(FileTaskException e, string path) => e.Error switch
    {
        2 => (404, $"path '{path}' does not exist"),
        12 or 28 or 122 => (507, "not enough disk space available"),
        1 or 13 or 30 => (403, $"path '{path}': {e.Message}"),
        6 or 20 or 21 or 22 or 36 or 40 => (400, $"path '{path}': {e.Message}"),
        95 => (400, "the file system there can't keep metadata"),
        110 => (504, e.Message),
        _ => (500, $"path '{path}': {e.Message}"),
    };
}
