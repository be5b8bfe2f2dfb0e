using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using InterpreterKernel.SandboxHost.Http;
using InterpreterKernel.SandboxHost.Sandboxes;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace InterpreterKernel.SandboxHost.Ports;

/// <summary>
/// Passes requests on to servers inside a sandbox, as E2B's edge does (e2b-wire.md section 4.10): HTTP/1.1, a connection for
/// each request (no keep-alive on the last hop, so that a server that serves one connection at a time is not held up by an
/// idle one), bodies as they come, and anything that upgrades (WebSocket) as raw bytes both ways.
/// </summary>
internal sealed class PortRoutes : IDisposable
{
    private const int MaxAtOnce = 512;

    private static readonly HttpRequestOptionsKey<(LocalSandbox Sandbox, int Port)> s_target = new("sandbox");

    private readonly HttpMessageInvoker _http = new(new SocketsHttpHandler
    {
        ConnectCallback = ConnectAsync,
        UseProxy = false,
        UseCookies = false,
        AllowAutoRedirect = false,
        AutomaticDecompression = DecompressionMethods.None,
        ActivityHeadersPropagator = null,
        PooledConnectionLifetime = TimeSpan.Zero,
        RequestHeaderEncodingSelector = static (_, _) => Encoding.UTF8,
        ResponseHeaderEncodingSelector = static (_, _) => Encoding.Latin1,
    });

    public void Dispose() => _http.Dispose();

    internal async Task HandleAsync(HttpContext context, LocalSandbox sandbox, int port)
    {
        if (Address(context, sandbox, port) is not { } address)
        {
            await Answers.EdgeErrorAsync(context, sandbox.Id, 400, "The request has no path", port);
            return;
        }

        if (!sandbox.TryEnter(MaxAtOnce))
        {
            await Answers.EdgeErrorAsync(context, sandbox.Id, 429, $"The sandbox has {MaxAtOnce} requests to its ports at once already", port);
            return;
        }

        try
        {
            await ForwardAsync(context, sandbox, port, address);
        }
        catch (HttpRequestException e) when (e.InnerException is PortClosedException && !context.Response.HasStarted)
        {
            await Answers.PortClosedAsync(context, sandbox.Id, port);
        }
        catch (Exception e) when (e is HttpRequestException or InvalidOperationException && !context.Response.HasStarted && !context.RequestAborted.IsCancellationRequested)
        {
            // The server in there hung up or answered no HTTP.
            context.Response.Clear();
            await Answers.EdgeErrorAsync(context, sandbox.Id, 502, "The server in the sandbox gave no valid answer: " + (e.InnerException ?? e).Message, port);
        }
        catch (Exception e) when (e is HttpRequestException or IOException)
        {
            // Cut off in the middle: only a broken connection tells the truth now.
            context.Abort();
        }
        finally
        {
            sandbox.Leave();
        }
    }

    private async Task ForwardAsync(HttpContext context, LocalSandbox sandbox, int port, Uri address)
    {
        using var message = new HttpRequestMessage(new HttpMethod(context.Request.Method), address) { Version = HttpVersion.Version11, VersionPolicy = HttpVersionPolicy.RequestVersionExact };
        message.Options.Set(s_target, (sandbox, port));
        if (context.Features.Get<IHttpRequestBodyDetectionFeature>()?.CanHaveBody == true)
        {
            message.Content = new RequestBody(context.Request.Body);
        }

        ForwardedHeaders.CopyRequest(context.Request, message);
        if (sandbox.Request.MaskRequestHost is { } mask)
        {
            message.Headers.Host = mask.Replace("${PORT}", port.ToString(CultureInfo.InvariantCulture), StringComparison.Ordinal);
        }

        var upgrade = context.Features.Get<IHttpUpgradeFeature>();
        if (upgrade?.IsUpgradableRequest == true)
        {
            message.Headers.TryAddWithoutValidation("Connection", "Upgrade");
            message.Headers.TryAddWithoutValidation("Upgrade", (IEnumerable<string?>)context.Request.Headers.Upgrade);
        }

        using var answer = await _http.SendAsync(message, context.RequestAborted);
        context.Response.StatusCode = (int)answer.StatusCode;
        context.Features.Get<IHttpResponseFeature>()!.ReasonPhrase = answer.ReasonPhrase;
        ForwardedHeaders.CopyResponse(answer, context.Response);
        if (answer.StatusCode == HttpStatusCode.SwitchingProtocols)
        {
            await SpliceAsync(context, upgrade!, answer);
            return;
        }

        await context.Response.StartAsync(context.RequestAborted);
        await using var body = await answer.Content.ReadAsStreamAsync(context.RequestAborted);
        await RequestBody.CopyAsync(body, context.Response.Body, context.RequestAborted);
    }

    /// <summary>After 101 both connections are raw; the first end of either direction ends both.</summary>
    private static async Task SpliceAsync(HttpContext context, IHttpUpgradeFeature upgrade, HttpResponseMessage answer)
    {
        context.Response.Headers.Upgrade = answer.Headers.Upgrade.ToString();
        await using var server = await answer.Content.ReadAsStreamAsync(context.RequestAborted);
        await using var client = await upgrade.UpgradeAsync();
        using var over = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted);
        var inwards = RequestBody.CopyAsync(client, server, over.Token);
        var outwards = RequestBody.CopyAsync(server, client, over.Token);
        await Task.WhenAny(inwards, outwards);
        await over.CancelAsync();
        foreach (var direction in (Task[])[inwards, outwards])
        {
            await direction.ContinueWith(static t => _ = t.Exception, CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        }
    }

    /// <summary>The target just as the client wrote it, under a name that keeps one sandbox's connections apart from another's.</summary>
    private static Uri? Address(HttpContext context, LocalSandbox sandbox, int port)
    {
        var target = context.Features.Get<IHttpRequestFeature>()!.RawTarget;
        if (!target.StartsWith('/'))
        {
            if (!Uri.TryCreate(target, UriKind.Absolute, out var whole) || whole.Scheme != Uri.UriSchemeHttp)
            {
                return null;
            }

            target = whole.PathAndQuery;
        }

        return Uri.TryCreate($"http://{sandbox.Id}.sandbox:{port}{target}", new UriCreationOptions { DangerousDisablePathAndQueryCanonicalization = true }, out var address) ? address : null;
    }

    [SuppressMessage("Reliability", "CA2000", Justification = "The stream owns the socket, and the handler the stream.")]
    private static async ValueTask<Stream> ConnectAsync(SocketsHttpConnectionContext context, CancellationToken cancellation)
    {
        context.InitialRequestMessage.Options.TryGetValue(s_target, out var target);
        return new NetworkStream(await PortConnector.ConnectAsync(target.Sandbox, target.Port, cancellation), ownsSocket: true);
    }
}
