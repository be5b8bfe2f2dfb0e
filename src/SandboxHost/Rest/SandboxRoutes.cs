using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using InterpreterKernel.SandboxHost.Http;
using InterpreterKernel.SandboxHost.Sandboxes;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace InterpreterKernel.SandboxHost.Rest;

/// <summary>E2B's control plane (e2b-wire.md section 2): create, list, get, kill; what belongs to the lease and to watching is next door.</summary>
internal sealed class SandboxRoutes(SandboxHostOptions options, SandboxRegistry registry, ILogger logger)
{
    /// <summary>What create answers and clients compare: the newest envd whose behaviour this host shows.</summary>
    internal const string EnvdVersion = "0.6.13";

    /// <summary>Our extension: the interpreter whose installation a sandbox is made of, for callers on the unix socket.</summary>
    internal const string PythonKey = "interpreter-kernel.python";

    // Required in answers and meaningless; E2B itself sends this constant.
    private const string ClientId = "6532622b";
    private const int DefaultV1 = 15;
    private const int DefaultV2 = 300;

    /// <summary>The one template has the names that E2B's clients ask for by default.</summary>
    private static readonly string[] s_templates = ["code-interpreter-v1", "base", "python"];

    private readonly LifetimeRoutes _lifetime = new(options, registry, logger);
    private readonly ObservationRoutes _observation = new(registry);

    internal async Task HandleAsync(HttpContext context)
    {
        var request = context.Request;
        var segments = (request.Path.Value ?? "").Split('/', StringSplitOptions.RemoveEmptyEntries);
        if (segments is ["health"] && request.Method == "GET")
        {
            context.Response.ContentType = "text/plain; charset=utf-8";
            await context.Response.WriteAsync("Health check successful\n", context.RequestAborted);
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
            ("GET", ["sandboxes", "metrics"]) when version == 1 => _observation.MetricsOfManyAsync(context),
            ("GET", ["sandboxes", var id]) when version == 1 => WithSandboxAsync(context, id, GetAsync),
            ("DELETE", ["sandboxes", var id]) when version == 1 => WithSandboxAsync(context, id, DeleteAsync),
            ("POST", ["sandboxes", var id, "timeout"]) when version == 1 => WithSandboxAsync(context, id, _lifetime.SetTimeoutAsync),
            ("POST", ["sandboxes", var id, "refreshes"]) when version == 1 => WithSandboxAsync(context, id, _lifetime.RefreshAsync),
            ("POST", ["sandboxes", var id, "pause"]) when version == 1 => WithSandboxAsync(context, id, _lifetime.PauseAsync),
            ("POST", ["sandboxes", var id, "resume"]) when version == 1 => WithSandboxAsync(context, id, _lifetime.ResumeAsync),
            ("POST", ["sandboxes", var id, "connect"]) => WithSandboxAsync(context, id, _lifetime.ConnectAsync),
            ("PUT", ["sandboxes", var id, "network"]) when version == 1 => WithSandboxAsync(context, id, NetworkRules.PutAsync),
            ("GET", ["sandboxes", var id, "metrics"]) when version == 1 => WithSandboxAsync(context, id, ObservationRoutes.MetricsAsync),
            ("GET", ["sandboxes", var id, "logs"]) => WithSandboxAsync(context, id, version == 2 ? ObservationRoutes.LogsV2Async : ObservationRoutes.LogsV1Async),
            ("POST", ["sandboxes", var id, "snapshots" or "fork"]) when version == 1 => WithSandboxAsync(context, id, NoSnapshotsAsync),
            ("GET", ["snapshots"]) when version == 1 => Answers.JsonAsync(context, 200, [], HostJson.Default.ListString),
            _ => Answers.ErrorAsync(context, 404, $"no route for {request.Method} {request.Path}"),
        });
    }

    private async Task CreateAsync(HttpContext context, int defaultTimeout)
    {
        if (await JsonBody.ReadAsync(context, HostJson.Default.NewSandbox) is not { } body)
        {
            return;
        }

        if (Refuse(body, defaultTimeout) is (var status, var message))
        {
            await Answers.ErrorAsync(context, status, message);
            return;
        }

        var metadata = body.Metadata ?? [];
        var overSocket = context.CameOverOwnSocket();
        var resources = ResourceTag.Read(overSocket ? metadata.GetValueOrDefault(ResourceTag.Key) : null, options.Resources);
        if (resources is null)
        {
            await Answers.ErrorAsync(context, 400, $"the metadata {ResourceTag.Key} is not such as 'memory=2147483648 disk=1073741824 cpus=2 pids=512', or too small");
            return;
        }

        var request = new SandboxRequest(
            body.TemplateId!.Split(':')[0],
            TimeSpan.FromSeconds(body.Timeout ?? defaultTimeout),
            metadata,
            body.EnvVars ?? [],
            overSocket ? metadata.GetValueOrDefault(PythonKey) : null,
            resources)
        {
            AutoPause = body.AutoPause == true,
            AutoResume = body.AutoResume?.Enabled == true,
            PublicTraffic = body.Network?.AllowPublicTraffic != false,
            MaskRequestHost = body.Network?.MaskRequestHost,
        };
        try
        {
            var sandbox = await registry.CreateAsync(request, context.RequestAborted);
            if (sandbox is null)
            {
                await LimitReachedAsync(context, options.Limit);
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
            { AutoPause: true } when !registry.CanPause => (400, "autoPause is not possible here: sandboxes have no cgroup of their own on this machine"),
            { AutoPauseMemory: false } => (400, "autoPauseMemory: false is not supported: this host pauses a sandbox with its processes, in memory"),
            { AutoResume.Enabled: true } when body.AutoPause != true => (400, "autoResume needs autoPause"),
            _ when IsAsked(body.VolumeMounts) => (400, "volumeMounts is not supported by this host"),
            _ when IsAsked(body.Mcp) => (400, "mcp is not supported by this host"),
            _ when IsAsked(body.Iam) => (400, "iam is not supported by this host"),
            _ when NetworkRules.Fault(body.Network) is { } fault => (400, fault),
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

        // The older version lists what runs, all of it.
        listing = paged ? listing : listing.AllRunning();
        var (page, next) = listing.Select(registry.Known);
        if (paged)
        {
            if (listing.Running)
            {
                context.Response.Headers["X-Total-Running"] = registry.Running.Count().ToString(System.Globalization.CultureInfo.InvariantCulture);
            }

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
                listed.State, listed.EnvdVersion, listed.Metadata, sandbox.AccessToken, options.AllowNetwork,
                new NetworkDetail(sandbox.Request.PublicTraffic, sandbox.Request.MaskRequestHost),
                new Lifecycle(sandbox.Request.AutoResume, sandbox.Request.AutoPause ? "pause" : "kill")),
            HostJson.Default.SandboxDetail);
    }

    private async Task DeleteAsync(HttpContext context, LocalSandbox sandbox)
    {
        await registry.KillAsync(sandbox, "it was deleted");
        await Answers.NoContentAsync(context);
    }

    private async Task WithSandboxAsync(HttpContext context, string id, Func<HttpContext, LocalSandbox, Task> handle)
    {
        // "id-clientID" is the legacy form.
        var parts = id.Split('-');
        if (parts.Length > 2 || parts[0].Length == 0 || parts[0].Any(c => !char.IsAsciiLetterLower(c) && !char.IsAsciiDigit(c)))
        {
            await Answers.ErrorAsync(context, 400, "Invalid sandbox ID");
        }
        else if (registry.FindKnown(parts[0]) is { } sandbox)
        {
            await handle(context, sandbox);
        }
        else if (context.Request.Method is "DELETE" or "POST" && registry.RemovalOf(parts[0]) is { } removal)
        {
            // A second kill ends when the first does: the slot is free for both. Who wants to change it learns then that it is gone.
            await removal;
            await (context.Request.Method == "DELETE" ? Answers.NoContentAsync(context) : NotFoundAsync(context, parts[0]));
        }
        else
        {
            await NotFoundAsync(context, parts[0]);
        }
    }

    internal static Task NotFoundAsync(HttpContext context, string id) =>
        Answers.ErrorAsync(context, 404, $"Sandbox \"{id}\" doesn't exist or you don't have access to it");

    /// <summary>Without <c>Retry-After</c>, which would make it a rate limit (e2b-wire.md section 2.6).</summary>
    internal static Task LimitReachedAsync(HttpContext context, int limit) =>
        Answers.ErrorAsync(
            context, 429, $"you have reached the maximum number of concurrent E2B sandboxes ({limit}). If you need more, please visit 'https://e2b.dev/docs/billing'");

    private static Task NoSnapshotsAsync(HttpContext context, LocalSandbox sandbox) =>
        Answers.ErrorAsync(context, 501, "snapshots and forks are not supported by this host; a sandbox can be paused instead");

    private static bool IsAsked(JsonElement? value) => value?.ValueKind switch
    {
        null or JsonValueKind.Null or JsonValueKind.Undefined => false,
        JsonValueKind.Array => value.Value.GetArrayLength() > 0,
        _ => true,
    };

    private bool KeyIsRight(HttpRequest request) =>
        string.IsNullOrEmpty(options.ApiKey)
        || CryptographicOperations.FixedTimeEquals(
            SHA256.HashData(Encoding.UTF8.GetBytes(request.Headers["X-API-Key"].ToString())),
            SHA256.HashData(Encoding.UTF8.GetBytes(options.ApiKey)));

    internal static CreatedSandbox Created(LocalSandbox sandbox) =>
        new(sandbox.Request.TemplateId, sandbox.Id, ClientId, EnvdVersion, sandbox.AccessToken, sandbox.TrafficToken, Domain: null);

    private ListedSandbox Listed(LocalSandbox sandbox) =>
        new(
            sandbox.Request.TemplateId,
            sandbox.Id,
            ClientId,
            sandbox.StartedAt,
            sandbox.EndAt,
            (int)Math.Ceiling(sandbox.Request.Resources.Cpus),
            (int)(sandbox.Request.Resources.MemoryBytes >> 20),
            (int)(sandbox.Request.Resources.DiskBytes >> 20),
            sandbox.State == SandboxState.Running ? "running" : "paused",
            EnvdVersion,
            sandbox.Request.Metadata);
}
