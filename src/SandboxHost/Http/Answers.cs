using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Microsoft.AspNetCore.Http;

namespace InterpreterKernel.SandboxHost.Http;

/// <summary>Writes answers in the forms that E2B's clients read.</summary>
internal static class Answers
{
    private const string Json = "application/json; charset=utf-8";

    /// <summary>An error of the control plane or of envd's REST part. Clients look at the integer in the body, not only at the status.</summary>
    internal static Task ErrorAsync(HttpContext context, int status, string message) =>
        JsonAsync(context, status, new ErrorBody(status, message), HostJson.Default.ErrorBody);

    internal static async Task JsonAsync<T>(HttpContext context, int status, T body, JsonTypeInfo<T> type)
    {
        var bytes = JsonSerializer.SerializeToUtf8Bytes(body, type);
        context.Response.StatusCode = status;
        context.Response.ContentType = Json;
        context.Response.ContentLength = bytes.Length;
        await context.Response.Body.WriteAsync(bytes, context.RequestAborted);
    }

    internal static Task NoContentAsync(HttpContext context)
    {
        context.Response.StatusCode = StatusCodes.Status204NoContent;
        return Task.CompletedTask;
    }

    /// <summary>An error of the edge.</summary>
    internal static Task EdgeErrorAsync(HttpContext context, string id, int status, string message, int? port) =>
        JsonAsync(context, status, new EdgeError(id, message, status, port), HostJson.Default.EdgeError);

    /// <summary>What E2B's edge says for a sandbox that is not there (any more).</summary>
    internal static Task SandboxNotFoundAsync(HttpContext context, string id) =>
        EdgeErrorAsync(context, id, StatusCodes.Status502BadGateway, "The sandbox was not found", null);

    /// <summary>What E2B's edge says when nothing listens on a port.</summary>
    internal static Task PortClosedAsync(HttpContext context, string id, int port) =>
        EdgeErrorAsync(context, id, StatusCodes.Status502BadGateway, "The sandbox is running but port is not open", port);
}
