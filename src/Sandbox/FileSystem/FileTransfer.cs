using System.Net;
using System.Net.Http.Headers;
using InterpreterKernel.Sandbox.Http;

namespace InterpreterKernel.Sandbox.FileSystem;

/// <summary>Reading and writing whole files through envd's <c>/files</c> route (e2b-wire.md section 4.3).</summary>
internal static class FileTransfer
{
    public static async Task<byte[]> ReadAsync(EnvdClient envd, string path, string? user, int maxBytes, CancellationToken ct)
    {
        var doing = $"Reading {path}";
        using var clock = new CallClock(envd.Connection, ct);
        try
        {
            using var response = await OpenAsync(envd, path, user, doing, clock);
            if (response.Content.Headers.ContentLength > maxBytes)
            {
                throw TooLong(doing, maxBytes);
            }

            return await ServiceAnswer.ReadBodyAsync(response, maxBytes, cut: false, clock.Token, clock.Restart);
        }
        catch (InvalidDataException)
        {
            throw TooLong(doing, maxBytes);
        }
        catch (Exception e)
        {
            throw await envd.ExplainAsync(e, clock, doing);
        }
    }

    public static async Task<Stream> OpenReadAsync(EnvdClient envd, string path, string? user, CancellationToken ct)
    {
        var doing = $"Reading {path}";
        using var clock = new CallClock(envd.Connection, ct);
        try
        {
            var response = await OpenAsync(envd, path, user, doing, clock);
            return new DownloadStream(envd, response, await response.Content.ReadAsStreamAsync(clock.Token), doing);
        }
        catch (Exception e)
        {
            throw await envd.ExplainAsync(e, clock, doing);
        }
    }

    public static async Task WriteAsync(EnvdClient envd, string path, HttpContent content, string? user, CancellationToken ct)
    {
        var doing = $"Writing {path}";
        using var clock = new CallClock(envd.Connection, ct);
        using var request = envd.Request(HttpMethod.Post, "/files" + Query(path, envd.UserFor(user)), user);
        if (content is CopiedContent copied)
        {
            // A large file on a slow line is no failure as long as it moves.
            copied.Progress = clock.Restart;
        }

        content.Headers.ContentType = new MediaTypeHeaderValue("application/octet-stream");
        if (envd.IsOlderThan(0, 5, 7))
        {
            // Daemons before that know forms only; the path in the query wins over the name in the form.
            request.Content = new MultipartFormDataContent { { content, "file", "file" } };
        }
        else
        {
            request.Content = content;
        }

        try
        {
            using var response = await envd.SendAsync(request, clock.Token);
            var answer = await ServiceAnswer.ReadAsync(response, clock.Token);
            if (!answer.IsSuccess)
            {
                throw Failure.OfEnvd(answer, doing, envd.SandboxId, envd.Where, envd.Secrets);
            }
        }
        catch (Exception e)
        {
            if (content is CopiedContent { SourceFault: { } fault } && !clock.Token.IsCancellationRequested)
            {
                throw new IOException($"{doing} failed: the stream to be written could not be read. The file is as it was, or incomplete.", fault);
            }

            throw await envd.ExplainAsync(e, clock, doing);
        }
    }

    /// <summary>The query of the route; the path goes in exactly as it is, because signatures cover it.</summary>
    public static string Query(string path, string? user) =>
        "?path=" + Uri.EscapeDataString(path) + (user is null ? "" : "&username=" + Uri.EscapeDataString(user));

    private static async Task<HttpResponseMessage> OpenAsync(EnvdClient envd, string path, string? user, string doing, CallClock clock)
    {
        using var request = envd.Request(HttpMethod.Get, "/files" + Query(path, envd.UserFor(user)), user);
        var response = await envd.SendAsync(request, clock.Token);
        if (response.StatusCode == HttpStatusCode.OK)
        {
            return response;
        }

        using (response)
        {
            throw Failure.OfEnvd(await ServiceAnswer.ReadAsync(response, clock.Token), doing, envd.SandboxId, envd.Where, envd.Secrets);
        }
    }

    private static SandboxException TooLong(string doing, int maxBytes) =>
        new(SandboxFault.InvalidRequest, $"{doing} failed: the file is longer than {maxBytes} bytes. Read it as a stream, or allow more.");
}
