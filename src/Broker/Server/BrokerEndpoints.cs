using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Logging;

namespace InterpreterKernel.Broker;

/// <summary>
/// The broker's HTTP interface, all of it in <see cref="RouteAsync"/>. It sits directly on the server: a container, a
/// router and their start-up would cost more than everything the broker does, while a user waits for the first cell.
/// </summary>
internal sealed class BrokerEndpoints(ClaimDesk desk, TimeProvider time, Action<string> shutDown, ILogger log) : IHttpApplication<HttpContext>
{
    /// <summary>The header of a claim's answer that names the claim, before it is ready.</summary>
    public const string ClaimHeader = "Claim-Id";

    /// <summary>The largest request body that is read.</summary>
    public const int LargestBody = 256 * 1024;

    public HttpContext CreateContext(IFeatureCollection contextFeatures) => new DefaultHttpContext(contextFeatures);

    public void DisposeContext(HttpContext context, Exception? exception)
    {
    }

    public async Task ProcessRequestAsync(HttpContext context)
    {
        try
        {
            await RouteAsync(context);
        }
        catch (Exception e) when (context.RequestAborted.IsCancellationRequested || e is ConnectionResetException)
        {
            // The caller left. What that means was dealt with where it mattered; there is nobody to tell.
            log.CallerLeft(e.Message);
        }
        catch (BadHttpRequestException e)
        {
            await RefuseAsync(context, e.StatusCode, "invalid", e.Message);
        }
        catch (BrokerException e) when (e.Fault == BrokerFault.Stopping)
        {
            await RefuseAsync(context, 503, "stopping", e.Message);
        }
        catch (Exception e)
        {
            log.Unexpected(e);
            await RefuseAsync(context, 500, "broker", "The broker failed; its log says more.");
        }
    }

    private Task RouteAsync(HttpContext context)
    {
        var path = context.Request.Path.Value ?? "";
        var parts = path.Split('/', StringSplitOptions.RemoveEmptyEntries);
        return (context.Request.Method, parts) switch
        {
            ("POST", ["claims"]) => ClaimAsync(context),
            ("GET", ["metrics"]) => MetricsAsync(context),
            ("GET", ["claims"]) => AnswerAsync(context, desk.Status(), BrokerJson.Default.BrokerStatus),
            ("POST", ["claims", var id, "handover"]) => HandOverAsync(context, id),
            ("POST", ["claims", var id, "report"]) => ReportAsync(context, id),
            ("DELETE", ["claims", var id]) => ReleaseAsync(context, "claim", id, desk.ReleaseAsync),
            ("GET", ["sandboxes"]) => AnswerAsync(context, Sandboxes(), BrokerJson.Default.IReadOnlyListSandboxStatus),
            ("DELETE", ["sandboxes", var id]) => ReleaseAsync(context, "sandbox", id, desk.KillSandboxAsync),
            ("POST", ["shutdown"]) => ShutDownAsync(context),
            (_, ["claims" or "sandboxes" or "shutdown" or "metrics", ..]) => RefuseAsync(context, 405, "method", "This path does not know this method."),
            _ => RefuseAsync(context, 404, "not_found", "There is no such path."),
        };
    }

    private async Task ClaimAsync(HttpContext context)
    {
        if (await ReadBodyAsync(context) is not { } body)
        {
            await RefuseAsync(context, 413, "invalid", $"The body is larger than {LargestBody} bytes.");
            return;
        }

        var (request, faults) = ClaimRequestReader.Read(body);
        if (request is null)
        {
            var all = string.Join("; ", faults.Select(f => f.Field.Length == 0 ? f.Message : $"{f.Field}: {f.Message}"));
            await RefuseAsync(context, 400, "invalid", $"The claim is not valid: {all}.", faults);
            return;
        }

        var claim = desk.Open(request);
        var gone = context.RequestAborted;
        context.Response.ContentType = "application/x-ndjson";
        context.Response.Headers[ClaimHeader] = claim.Id;
        await using var stream = new ClaimStream(context.Response, time, gone);
        await desk.ServeAsync(claim, stream.TellAsync, gone);
    }

    private Task HandOverAsync(HttpContext context, string id) => desk.AllowHandover(id) switch
    {
        true => NoContentAsync(context),
        false => RefuseAsync(context, 409, "conflict", "The claim has no sandbox that could be kept."),
        null => RefuseAsync(context, 404, "not_found", "There is no such claim."),
    };

    private async Task ReportAsync(HttpContext context, string id)
    {
        HolderReport? report = null;
        try
        {
            report = await ReadBodyAsync(context) is { } body ? JsonSerializer.Deserialize(body.Span, BrokerJson.Default.HolderReport) : null;
        }
        catch (JsonException)
        {
            // Refused below, as what is no report at all.
        }

        if (report is not { Reason: { Length: > 0 and <= HolderReport.LongestReason }, Message: not null })
        {
            await RefuseAsync(context, 400, "invalid", $"A report is {{\"reason\", \"message\"}}, the reason of 1 to {HolderReport.LongestReason} characters.");
            return;
        }

        var message = report.Message.Length <= HolderReport.LongestMessage ? report.Message : report.Message[..HolderReport.LongestMessage];
        await (desk.Report(id, report with { Message = message })
            ? NoContentAsync(context)
            : RefuseAsync(context, 404, "not_found", "There is no such claim."));
    }

    private Task MetricsAsync(HttpContext context)
    {
        var text = Encoding.UTF8.GetBytes(desk.Metrics());
        context.Response.ContentType = MetricsText.ContentType;
        context.Response.ContentLength = text.Length;
        return context.Response.Body.WriteAsync(text, context.RequestAborted).AsTask();
    }

    private static async Task ReleaseAsync(HttpContext context, string what, string id, Func<string, CancellationToken, Task<bool>> release)
    {
        if (await release(id, context.RequestAborted))
        {
            await NoContentAsync(context);
        }
        else
        {
            await RefuseAsync(context, 404, "not_found", $"There is no such {what}.");
        }
    }

    private async Task ShutDownAsync(HttpContext context)
    {
        var force = context.Request.Query.ContainsKey("force");
        if (!force && desk.CloseIfIdle() is var claims && claims > 0)
        {
            await RefuseAsync(context, 409, "conflict", $"{claims} claims are open. Close their notebooks, or use force: that kills their sandboxes.");
            return;
        }

        // Before the answer: whoever claims after it has come gets the next broker, not this one's last breath.
        desk.Close();
        context.Response.StatusCode = 202;
        await context.Response.CompleteAsync();
        shutDown("asked to");
    }

    private IReadOnlyList<SandboxStatus> Sandboxes() =>
    [
        .. desk.Status().Claims
            .Where(c => c.Sandbox is not null)
            .Select(c => new SandboxStatus(c.Sandbox!, c.Id, c.Template, c.Started, c.State, c.Service)),
        .. desk.Spares(),
    ];

    /// <summary>The body; null when it is too large. The server bounds it as well, but says so less clearly.</summary>
    private static async Task<ReadOnlyMemory<byte>?> ReadBodyAsync(HttpContext context)
    {
        if (context.Request.ContentLength > LargestBody)
        {
            return null;
        }

        using var body = new MemoryStream();
        var chunk = new byte[16 * 1024];
        while (await context.Request.Body.ReadAsync(chunk, context.RequestAborted) is var read and > 0)
        {
            if (body.Length + read > LargestBody)
            {
                return null;
            }

            body.Write(chunk, 0, read);
        }

        return body.GetBuffer().AsMemory(0, (int)body.Length);
    }

    private static Task NoContentAsync(HttpContext context)
    {
        context.Response.StatusCode = 204;
        return Task.CompletedTask;
    }

    private static Task RefuseAsync(HttpContext context, int status, string reason, string message, IReadOnlyList<RequestFault>? faults = null)
    {
        if (context.Response.HasStarted)
        {
            // A stream that is under way can only be broken off.
            context.Abort();
            return Task.CompletedTask;
        }

        context.Response.StatusCode = status;
        return AnswerAsync(context, new BrokerError(status, reason, message, faults), BrokerJson.Default.BrokerError);
    }

    private static async Task AnswerAsync<T>(HttpContext context, T answer, JsonTypeInfo<T> type)
    {
        var json = JsonSerializer.SerializeToUtf8Bytes(answer, type);
        context.Response.ContentType = "application/json";
        context.Response.ContentLength = json.Length;
        await context.Response.Body.WriteAsync(json, context.RequestAborted);
    }
}
