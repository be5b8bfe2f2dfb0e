using System.Globalization;
using InterpreterKernel.SandboxHost.Rest;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace InterpreterKernel.SandboxHost.Http;

/// <summary>
/// One listener for both planes. A request is meant for a sandbox when it carries E2B's routing headers, or when its
/// host name begins with <c>PORT-ID.</c>; all others are for the control plane.
/// </summary>
internal sealed class Router(SandboxRoutes control, Edge edge, ILogger logger)
{
    internal async Task HandleAsync(HttpContext context)
    {
        try
        {
            if (Target(context.Request) is (var id, var port))
            {
                await edge.HandleAsync(context, id, port);
            }
            else if (context.Request.Path == "/files" && context.Request.Query.ContainsKey("signature"))
            {
                await edge.HandleSignedAsync(context);
            }
            else
            {
                await control.HandleAsync(context);
            }
        }
        catch (Exception e) when (e is OperationCanceledException or ConnectionResetException
            || (context.RequestAborted.IsCancellationRequested && e is IOException or ObjectDisposedException))
        {
            // The caller left, or its sandbox was killed: there is nobody to answer. (The token may lag behind the exception.)
            context.Abort();
        }
        catch (BadHttpRequestException e) when (!context.Response.HasStarted)
        {
            await Answers.ErrorAsync(context, e.StatusCode, e.Message);
        }
        catch (Exception e)
        {
            logger.RequestFailed(e, context.Request.Method, context.Request.Path);
            if (context.Response.HasStarted)
            {
                context.Abort();
            }
            else
            {
                await Answers.ErrorAsync(context, 500, "the host failed to handle the request; its log says why");
            }
        }
    }

    private static (string Id, int Port)? Target(HttpRequest request)
    {
        // A host name that names a sandbox is decisive: what is served under it must not be led elsewhere by a header.
        var host = request.Host.Host;
        if (host.Contains('.') && host.Split('.')[0].Split('-') is [var first, var name] && Number(first) is { } number)
        {
            return (name, number);
        }

        return request.Headers["E2b-Sandbox-Id"].ToString() is { Length: > 0 } id
            ? (id, Number(request.Headers["E2b-Sandbox-Port"].ToString()) ?? 0)
            : null;
    }

    private static int? Number(string text) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : null;
}
