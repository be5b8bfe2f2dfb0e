using System.Collections.Concurrent;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Logging;

namespace InterpreterKernel.Sandbox.Tests.Support;

/// <summary>A request as it arrived.</summary>
public sealed record Seen(string Line, string Target, IReadOnlyDictionary<string, string> Headers, string Body);

/// <summary>
/// A fake E2B service on a real HTTP server, over TCP or a unix socket. Routes are what a test gives it, by
/// <c>"METHOD /path"</c>; everything else is answered 404 as a web server does, without JSON.
/// </summary>
public sealed class FakeService : IAsyncDisposable
{
    public const string Id = "isandbox0000000000001";
    public const string Key = "e2b_0123456789secretkey";
    public const string Token = "0123456789envdtoken";

    private readonly WebApplication _app;
    private readonly string? _directory;
    private readonly ConcurrentDictionary<string, Func<HttpContext, Task>> _routes = new();

    private FakeService(WebApplication app, string? directory)
    {
        _app = app;
        _directory = directory;
    }

    /// <summary>All requests whose body was read by a route made with <c>On</c>, in order.</summary>
    public ConcurrentQueue<Seen> Requests { get; } = new();

    public SandboxConnection Connection { get; private set; } = new();

    public static async Task<FakeService> StartAsync(bool unixSocket = false, X509Certificate2? certificate = null)
    {
        var directory = unixSocket ? Directory.CreateTempSubdirectory("ik-sandbox-").FullName : null;
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.Logging.ClearProviders();
        builder.WebHost.UseKestrelCore().UseKestrelHttpsConfiguration().ConfigureKestrel(kestrel =>
        {
            kestrel.Limits.MaxRequestBodySize = null;
            kestrel.Limits.MinRequestBodyDataRate = null;
            kestrel.Limits.MinResponseDataRate = null;
            if (directory is null)
            {
                kestrel.Listen(System.Net.IPAddress.Loopback, 0, listen =>
                {
                    listen.Protocols = HttpProtocols.Http1;
                    if (certificate is not null)
                    {
                        listen.UseHttps(certificate);
                    }
                });
            }
            else
            {
                kestrel.ListenUnixSocket(Path.Combine(directory, "s.sock"), listen => listen.Protocols = HttpProtocols.Http1);
            }
        });
        var app = builder.Build();
        var service = new FakeService(app, directory);
        app.Run(service.ServeAsync);
        await app.StartAsync();
        var address = app.Urls.First();
        service.Connection = directory is null
            ? new SandboxConnection { ApiKey = Key, ApiUrl = new Uri(address), SandboxUrl = new Uri(address), TimeProvider = TimeProvider.System }
            : new SandboxConnection { UnixSocket = Path.Combine(directory, "s.sock") };
        return service;
    }

    public Sandbox Attach(SandboxConnection? connection = null) => Sandbox.Attach(Id, Token, connection ?? Connection);

    /// <summary>A route that reads the request whole and answers.</summary>
    public FakeService On(string route, int status, string? json = null, params (string Name, string Value)[] headers)
    {
        return On(route, async context =>
        {
            context.Response.StatusCode = status;
            foreach (var (name, value) in headers)
            {
                context.Response.Headers[name] = value;
            }

            if (json is not null)
            {
                context.Response.ContentType = "application/json";
                await context.Response.WriteAsync(json);
            }
        });
    }

    public FakeService On(string route, Func<HttpContext, Task> answer)
    {
        return OnRaw(route, async context =>
        {
            using var body = new MemoryStream();
            await context.Request.Body.CopyToAsync(body);
            context.Items["body"] = body.ToArray();
            Note(context, Encoding.UTF8.GetString(body.ToArray()));
            await answer(context);
        });
    }

    /// <summary>A route that reads the request itself.</summary>
    public FakeService OnRaw(string route, Func<HttpContext, Task> answer)
    {
        _routes[route] = answer;
        return this;
    }

    public int Count(string line) => Requests.Count(r => r.Line == line);

    public async ValueTask DisposeAsync()
    {
        using var atOnce = new CancellationTokenSource(TimeSpan.Zero);
        await _app.StopAsync(atOnce.Token);
        await _app.DisposeAsync();
        if (_directory is not null)
        {
            Directory.Delete(_directory, recursive: true);
        }
    }

    private void Note(HttpContext context, string body) => Requests.Enqueue(new Seen(
        $"{context.Request.Method} {context.Request.Path}",
        context.Features.Get<Microsoft.AspNetCore.Http.Features.IHttpRequestFeature>()!.RawTarget,
        context.Request.Headers.ToDictionary(h => h.Key, h => h.Value.ToString(), StringComparer.OrdinalIgnoreCase),
        body));

    private Task ServeAsync(HttpContext context)
    {
        if (_routes.TryGetValue($"{context.Request.Method} {context.Request.Path}", out var answer))
        {
            return answer(context);
        }

        Note(context, "");
        context.Response.StatusCode = 404;
        return context.Response.WriteAsync("404 page not found");
    }
}
