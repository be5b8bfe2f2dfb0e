using System.Globalization;
using InterpreterKernel.SandboxHost.Envd;
using InterpreterKernel.SandboxHost.Rest;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace InterpreterKernel.SandboxHost.Http;

/// <summary>
/// One listener for both planes. A request is meant for a sandbox when it carries E2B's routing headers, or when its
/// host name begins with <c>PORT-ID.</c>; all others are for the control plane.
/// </summary>
internal sealed class Router(SandboxRoutes control, EnvdRoutes envd, ILogger logger)
{
    internal async Task HandleAsync(HttpContext context)
    {
        try
        {
            if (Target(context.Request) is (var id, var port))
            {
                await envd.HandleAsync(context, id, port);
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
        if (request.Headers["E2b-Sandbox-Id"].ToString() is { Length: > 0 } id)
        {
            return (id, int.TryParse(request.Headers["E2b-Sandbox-Port"].ToString(), NumberStyles.None, CultureInfo.InvariantCulture, out var port) ? port : 0);
        }

        var label = request.Host.Host.Split('.')[0].Split('-');
        return label.Length == 2 && request.Host.Host.Contains('.') && int.TryParse(label[0], NumberStyles.None, CultureInfo.InvariantCulture, out var number)
            ? (label[1], number)
            : null;
    }
}
