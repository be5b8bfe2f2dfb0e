using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using InterpreterKernel.SandboxHost.Http;
using InterpreterKernel.SandboxHost.Sandboxes;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace InterpreterKernel.SandboxHost.Rest;

/// <summary>E2B's control plane (e2b-wire.md section 2): create, list, get, kill, and the lease.</summary>
internal sealed class SandboxRoutes(SandboxHostOptions options, SandboxRegistry registry, ILogger logger)
{
    /// <summary>What create answers and clients compare: the newest envd whose behaviour this host shows.</summary>
    internal const string EnvdVersion = "0.6.13";

    /// <summary>Our extension: the interpreter whose installation a sandbox is made of, for callers on the unix socket.</summary>
    internal const string PythonKey = "interpreter-kernel.python";

    // Required in answers and meaningless; E2B itself sends this constant.
    private const string ClientId = "6532622b";
    private const int MaxBody = 1 << 20;
    private const int DefaultV1 = 15;
    private const int DefaultV2 = 300;
    private const int MinRefresh = 15;
    private const int MaxRefresh = 3600;

    /// <summary>The one template has the names that E2B's clients ask for by default.</summary>
    private static readonly string[] s_templates = ["code-interpreter-v1", "base", "python"];

    internal async Task HandleAsync(HttpContext context)
    {
        var request = context.Request;
        var segments = (request.Path.Value ?? "").Split('/', StringSplitOptions.RemoveEmptyEntries);
        if (segments is ["health"] && request.Method == "GET")
        {
            context.Response.StatusCode = StatusCodes.Status200OK;
            return;
        }

        if (!KeyIsRight(request))
        {
            await Answers.ErrorAsync(context, 401, request.Headers.ContainsKey("X-API-Key")
                ? "Invalid API key, please check the key of this host."
                : "authorization header is missing: send the key as X-API-Key");
            return;
        }

        var version = segments is ["v2", ..] ? 2 : 1;
        await ((request.Method, version == 2 ? segments[1..] : segments) switch
        {
            ("POST", ["sandboxes"]) => CreateAsync(context, version == 2 ? DefaultV2 : DefaultV1),
            ("GET", ["sandboxes"]) => ListAsync(context, paged: version == 2),
            ("GET", ["sandboxes", var id]) when version == 1 => WithSandboxAsync(context, id, GetAsync),
            ("DELETE", ["sandboxes", var id]) when version == 1 => WithSandboxAsync(context, id, DeleteAsync),
            ("POST", ["sandboxes", var id, "timeout"]) when version == 1 => WithSandboxAsync(context, id, SetTimeoutAsync),
            ("POST", ["sandboxes", var id, "refreshes"]) when version == 1 => WithSandboxAsync(context, id, RefreshAsync),
            ("POST", ["sandboxes", var id, "connect"]) => WithSandboxAsync(context, id, ConnectAsync),
            _ => Answers.ErrorAsync(context, 404, $"no route for {request.Method} {request.Path}"),
        });
    }

    private async Task CreateAsync(HttpContext context, int defaultTimeout)
    {
        if (await ReadAsync(context, HostJson.Default.NewSandbox) is not { } body)
        {
            return;
        }

        if (Refuse(body, defaultTimeout) is (var status, var message))
        {
            await Answers.ErrorAsync(context, status, message);
            return;
        }

        var metadata = body.Metadata ?? [];
        var overSocket = context.Features.Get<IConnectionSocketFeature>()?.Socket.AddressFamily == System.Net.Sockets.AddressFamily.Unix;
        var request = new SandboxRequest(
            body.TemplateId!.Split(':')[0],
            TimeSpan.FromSeconds(body.Timeout ?? defaultTimeout),
            metadata,
            body.EnvVars ?? [],
            overSocket ? metadata.GetValueOrDefault(PythonKey) : null);
        try
        {
            var sandbox = await registry.CreateAsync(request, context.RequestAborted);
            if (sandbox is null)
            {
                await Answers.ErrorAsync(
                    context,
                    429,
                    $"you have reached the maximum number of concurrent E2B sandboxes ({options.Limit}). If you need more, please visit 'https://e2b.dev/docs/billing'");
                return;
            }

            await Answers.JsonAsync(context, 201, Created(sandbox), HostJson.Default.CreatedSandbox);
        }
        catch (SandboxHostException e)
        {
            logger.CreateFailed(e);
            await Answers.ErrorAsync(context, e.Reason == SandboxHostFault.Template ? 400 : 500, e.Message);
        }
    }

    private (int Status, string Message)? Refuse(NewSandbox body, int defaultTimeout)
    {
        var timeout = body.Timeout ?? defaultTimeout;
        return body switch
        {
            { TemplateId: null or "" } => (400, "validation error: templateID is required"),
            _ when !s_templates.Contains(body.TemplateId.Split(':')[0]) =>
                (404, $"template '{body.TemplateId}' not found: this host has one template, by the names {string.Join(", ", s_templates)}"),
            _ when timeout <= 0 => (400, "Timeout must be greater than 0"),
            _ when timeout > options.MaxLifetime.TotalSeconds => (400, $"Timeout cannot be greater than {options.MaxLifetime.TotalHours:0.##} hours"),
            { AutoPause: true } => (400, "autoPause is not supported by this host"),
            _ when (body.Metadata ?? []).Concat(body.EnvVars ?? []).Any(pair => pair.Value is null) => (400, "validation error: values of metadata and envVars must be strings"),
            _ when (body.EnvVars ?? []).Any(pair => pair.Key.Length == 0 || pair.Key.AsSpan().ContainsAny('=', '\0') || pair.Value.Contains('\0')) =>
                (400, "validation error: envVars has a name or value that no process can have"),
            _ => null,
        };
    }

    private async Task ListAsync(HttpContext context, bool paged)
    {
        var (listing, fault) = SandboxListing.Parse(context.Request.Query);
        if (listing is null)
        {
            await Answers.ErrorAsync(context, 400, fault!);
            return;
        }

        var running = registry.Running.ToList();
        var (page, next) = listing.Select(running);
        if (paged)
        {
            context.Response.Headers["X-Total-Running"] = running.Count.ToString(System.Globalization.CultureInfo.InvariantCulture);
            if (next is not null)
            {
                context.Response.Headers["X-Next-Token"] = next;
            }
        }

        await Answers.JsonAsync(context, 200, page.Select(Listed).ToList(), HostJson.Default.ListListedSandbox);
    }

    private Task GetAsync(HttpContext context, LocalSandbox sandbox)
    {
        var listed = Listed(sandbox);
        return Answers.JsonAsync(
            context,
            200,
            new SandboxDetail(
                listed.TemplateId, listed.SandboxId, listed.ClientId, listed.StartedAt, listed.EndAt, listed.CpuCount, listed.MemoryMb, listed.DiskSizeMb,
                listed.State, listed.EnvdVersion, listed.Metadata, sandbox.AccessToken, options.AllowNetwork, new Lifecycle(AutoResume: false, "kill")),
            HostJson.Default.SandboxDetail);
    }

    private async Task DeleteAsync(HttpContext context, LocalSandbox sandbox)
    {
        await registry.KillAsync(sandbox, "it was deleted");
        await Answers.NoContentAsync(context);
    }

    private async Task SetTimeoutAsync(HttpContext context, LocalSandbox sandbox)
    {
        if (await ReadAsync(context, HostJson.Default.TimeoutBody) is not { } body)
        {
            return;
        }

        if (body.Timeout is not { } seconds)
        {
            await Answers.ErrorAsync(context, 400, "validation error: timeout is required");
            return;
        }

        // Unlike the others this may shorten.
        MoveEnd(sandbox, registry.Time.GetUtcNow() + TimeSpan.FromSeconds(Math.Max(seconds, 0)));
        await Answers.NoContentAsync(context);
    }

    private async Task RefreshAsync(HttpContext context, LocalSandbox sandbox)
    {
        if (await ReadAsync(context, HostJson.Default.RefreshBody, new RefreshBody(null)) is not { } body)
        {
            return;
        }

        if (body.Duration is < 0 or > MaxRefresh)
        {
            await Answers.ErrorAsync(context, 400, $"validation error: duration must be 0 to {MaxRefresh}");
            return;
        }

        Extend(sandbox, Math.Max(body.Duration ?? MinRefresh, MinRefresh));
        await Answers.NoContentAsync(context);
    }

    private async Task ConnectAsync(HttpContext context, LocalSandbox sandbox)
    {
        if (await ReadAsync(context, HostJson.Default.TimeoutBody, new TimeoutBody(null)) is not { } body)
        {
            return;
        }

        if (body.Timeout is <= 0)
        {
            await Answers.ErrorAsync(context, 400, "Timeout must be greater than 0");
            return;
        }

        Extend(sandbox, body.Timeout ?? DefaultV2);
        await Answers.JsonAsync(context, 200, Created(sandbox), HostJson.Default.CreatedSandbox);
    }

    private void Extend(LocalSandbox sandbox, int seconds)
    {
        var end = registry.Time.GetUtcNow() + TimeSpan.FromSeconds(seconds);
        if (end > sandbox.EndAt)
        {
            MoveEnd(sandbox, end);
        }
    }

    private void MoveEnd(LocalSandbox sandbox, DateTimeOffset end)
    {
        var last = sandbox.StartedAt + options.MaxLifetime;
        registry.SetEnd(sandbox, end < last ? end : last);
    }

    private async Task WithSandboxAsync(HttpContext context, string id, Func<HttpContext, LocalSandbox, Task> handle)
    {
        // "id-clientID" is the legacy form.
        var parts = id.Split('-');
        if (parts.Length > 2 || parts[0].Length == 0 || parts[0].Any(c => !char.IsAsciiLetterLower(c) && !char.IsAsciiDigit(c)))
        {
            await Answers.ErrorAsync(context, 400, "Invalid sandbox ID");
        }
        else if (registry.Find(parts[0]) is { } sandbox)
        {
            await handle(context, sandbox);
        }
        else if (context.Request.Method == "DELETE" && registry.RemovalOf(parts[0]) is { } removal)
        {
            // A second kill ends when the first does: the slot is free for both.
            await removal;
            await Answers.NoContentAsync(context);
        }
        else
        {
            await Answers.ErrorAsync(context, 404, $"Sandbox \"{parts[0]}\" doesn't exist or you don't have access to it");
        }
    }

    /// <summary>Reads a JSON body; null when an error was answered already. An empty body is <paramref name="absent"/> where that is allowed.</summary>
    private static async Task<T?> ReadAsync<T>(HttpContext context, JsonTypeInfo<T> type, T? absent = null)
        where T : class
    {
        using var body = new MemoryStream();
        var buffer = new byte[4096];
        while (await context.Request.Body.ReadAsync(buffer, context.RequestAborted) is > 0 and var count)
        {
            if (body.Length + count > MaxBody)
            {
                await Answers.ErrorAsync(context, 413, $"the body is larger than {MaxBody} bytes");
                return null;
            }

            body.Write(buffer, 0, count);
        }

        if (body.Length == 0 && absent is not null)
        {
            return absent;
        }

        try
        {
            if (JsonSerializer.Deserialize(body.GetBuffer().AsSpan(0, (int)body.Length), type) is { } value)
            {
                return value;
            }

            await Answers.ErrorAsync(context, 400, "Error when parsing request: the body must be a JSON object");
        }
        catch (JsonException e)
        {
            await Answers.ErrorAsync(context, 400, "Error when parsing request: " + e.Message);
        }

        return null;
    }

    private bool KeyIsRight(HttpRequest request) =>
        string.IsNullOrEmpty(options.ApiKey)
        || CryptographicOperations.FixedTimeEquals(
            SHA256.HashData(Encoding.UTF8.GetBytes(request.Headers["X-API-Key"].ToString())),
            SHA256.HashData(Encoding.UTF8.GetBytes(options.ApiKey)));

    private static CreatedSandbox Created(LocalSandbox sandbox) =>
        new(sandbox.Request.TemplateId, sandbox.Id, ClientId, EnvdVersion, sandbox.AccessToken, Domain: null);

    private ListedSandbox Listed(LocalSandbox sandbox) =>
        new(
            sandbox.Request.TemplateId,
            sandbox.Id,
            ClientId,
            sandbox.StartedAt,
            sandbox.EndAt,
            (int)Math.Ceiling(options.Resources.Cpus),
            (int)(options.Resources.MemoryBytes >> 20),
            (int)(options.Resources.DiskBytes >> 20),
            "running",
            EnvdVersion,
            sandbox.Request.Metadata);
}
