using InterpreterKernel.Sandbox.Http;
using InterpreterKernel.Sandbox.Rest;

namespace InterpreterKernel.Sandbox;

/// <summary>
/// One sandbox. Disposing it kills it; <see cref="Detach"/> turns that off.
/// </summary>
/// <example>
/// <code>
/// await using var sandbox = await Sandbox.CreateAsync(new() { Template = "base" }, SandboxConnection.FromEnvironment());
/// var result = await sandbox.Commands.RunAsync("echo hello");
/// </code>
/// </example>
public sealed class Sandbox : IAsyncDisposable
{
    /// <summary>The label that every create of this library carries, with a value of its own.</summary>
    public const string CreateKey = "interpreter-kernel.create";

    private const string DebugId = "debug_sandbox_id";
    private static readonly TimeSpan s_disposalLimit = TimeSpan.FromSeconds(5);

    private readonly SandboxConnection _connection;
    private readonly string? _trafficAccessToken;
    private int _detached;

    private Sandbox(SandboxConnection connection, SandboxBody body)
    {
        _connection = connection;
        _trafficAccessToken = body.TrafficAccessToken;
        Id = body.SandboxId!;
        EnvdAccessToken = string.IsNullOrEmpty(body.EnvdAccessToken) ? null : body.EnvdAccessToken;
        TemplateId = body.TemplateId ?? "";
        EnvdVersion = body.EnvdVersion ?? "";
        Domain = string.IsNullOrEmpty(body.Domain) ? null : body.Domain;
        var envd = new EnvdClient(connection, Id, EnvdAccessToken, EnvdVersion, Domain);
        Commands = new Commands(envd);
        Files = new Files(envd);
    }

    /// <summary>Its id.</summary>
    public string Id { get; }

    /// <summary>The token that its processes and files are reached with, if the service gave one. A secret.</summary>
    public string? EnvdAccessToken { get; }

    /// <summary>The token that its ports are reached with when they are not public. A secret.</summary>
    public string? TrafficAccessToken => _trafficAccessToken;

    /// <summary>The template it was made from; empty when attached.</summary>
    public string TemplateId { get; }

    /// <summary>The version of the daemon inside; empty when attached.</summary>
    public string EnvdVersion { get; }

    /// <summary>Which version of E2B's create route made it: 2, or 1 where the service has only that; 0 when it was not created here.</summary>
    public int CreateVersion { get; private init; }

    /// <summary>The domain that the service named for it, if any.</summary>
    public string? Domain { get; }

    /// <summary>Its processes.</summary>
    public Commands Commands { get; }

    /// <summary>Its files.</summary>
    public Files Files { get; }

    /// <summary>Why killing it on disposal failed, if it did. Its lifetime then ends it.</summary>
    public SandboxException? DisposalFault { get; private set; }

    /// <summary>
    /// Creates a sandbox. Nothing is leaked: when the answer is lost or comes too late, or <paramref name="ct"/> is
    /// cancelled on the way, what was made all the same is found again and returned or killed. Cancelling may therefore
    /// take up to five seconds.
    /// </summary>
    /// <exception cref="SandboxException">It could not be created; <see cref="SandboxException.Reason"/> says why.</exception>
    public static async Task<Sandbox> CreateAsync(SandboxOptions options, SandboxConnection connection, CancellationToken ct = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(connection);
        if (connection.Debug)
        {
            return DebugSandbox(connection);
        }

        var api = new ControlPlane(connection);
        return From(await SandboxCreation.CreateAsync(api, options, ct), connection, "Creating a sandbox", api.UsesFirstVersion("create") ? 1 : 2);
    }

    /// <summary>
    /// Connects to a sandbox that runs, or resumes one that is paused. Its lifetime becomes at least
    /// <paramref name="timeout"/> (default: the service's, 300 s); it is never shortened.
    /// </summary>
    public static async Task<Sandbox> ConnectAsync(string id, SandboxConnection connection, TimeSpan? timeout = null, CancellationToken ct = default)
    {
        ArgumentNullException.ThrowIfNull(connection);
        if (connection.Debug)
        {
            return DebugSandbox(connection);
        }

        ServiceAddress.CheckedId(id);
        using var clock = new CallClock(connection, ct);
        return From(await SandboxLifecycle.ConnectAsync(new ControlPlane(connection), id, timeout, clock), connection, $"Connecting to sandbox {id}");
    }

    /// <summary>
    /// Makes an object for a sandbox that somebody else created, without asking the service. It is detached: disposing it
    /// does not kill.
    /// </summary>
    public static Sandbox Attach(string id, string? envdAccessToken, SandboxConnection connection, string? domain = null)
    {
        ArgumentNullException.ThrowIfNull(connection);
        var body = new SandboxBody { SandboxId = ServiceAddress.CheckedId(id), EnvdAccessToken = envdAccessToken, Domain = domain };
        return new Sandbox(connection, body) { _detached = 1 };
    }

    /// <summary>All sandboxes that match, over all pages.</summary>
    public static IAsyncEnumerable<SandboxInfo> ListAsync(SandboxConnection connection, SandboxListQuery? query = null, CancellationToken ct = default)
    {
        ArgumentNullException.ThrowIfNull(connection);
        return SandboxLifecycle.ListAsync(new ControlPlane(connection), query ?? new SandboxListQuery(), ct);
    }

    /// <summary>Kills a sandbox, running or paused. When it returns, the place in the concurrency limit is free.</summary>
    /// <returns>False when there is no such sandbox (any more).</returns>
    public static async Task<bool> KillAsync(string id, SandboxConnection connection, CancellationToken ct = default)
    {
        ArgumentNullException.ThrowIfNull(connection);
        if (connection.Debug)
        {
            return true;
        }

        ServiceAddress.CheckedId(id);
        using var clock = new CallClock(connection, ct);
        return await SandboxLifecycle.KillAsync(new ControlPlane(connection), id, clock);
    }

    /// <summary>What the service says about a sandbox.</summary>
    public static async Task<SandboxInfo> GetInfoAsync(string id, SandboxConnection connection, CancellationToken ct = default)
    {
        ArgumentNullException.ThrowIfNull(connection);
        ServiceAddress.CheckedId(id);
        using var clock = new CallClock(connection, ct);
        return await SandboxLifecycle.GetAsync(new ControlPlane(connection), id, clock);
    }

    /// <summary>Kills it. When this returns, the place in the concurrency limit is free.</summary>
    /// <returns>False when it was gone already.</returns>
    public Task<bool> KillAsync(CancellationToken ct = default) => KillAsync(Id, _connection, ct);

    /// <summary>Sets its lifetime to end <paramref name="timeout"/> from now, which may also shorten it.</summary>
    /// <exception cref="SandboxLostException">It is gone.</exception>
    public async Task SetTimeoutAsync(TimeSpan timeout, CancellationToken ct = default)
    {
        if (!_connection.Debug)
        {
            await KnownAsync(
                "Setting the lifetime",
                async clock =>
                {
                    await SandboxLifecycle.SetTimeoutAsync(Api(), Id, timeout, clock);
                    return true;
                },
                ct);
        }
    }

    /// <summary>What the service says about it.</summary>
    /// <exception cref="SandboxLostException">It is gone.</exception>
    public Task<SandboxInfo> GetInfoAsync(CancellationToken ct = default) =>
        KnownAsync("Asking for its state", clock => SandboxLifecycle.GetAsync(Api(), Id, clock), ct);

    /// <summary>Whether it runs and its daemon answers.</summary>
    public Task<bool> IsRunningAsync(CancellationToken ct = default) => Commands.Envd.IsHealthyAsync(ct);

    /// <summary>
    /// Pauses it: memory and files are kept, connections are not, and it takes no place in the concurrency limit.
    /// <see cref="ConnectAsync"/> resumes it.
    /// </summary>
    /// <param name="keepMemory">False keeps the files only; the processes are lost. Null: the service's default, true.</param>
    /// <param name="ct">Cancels the call.</param>
    /// <returns>False when it was paused already.</returns>
    public Task<bool> PauseAsync(bool? keepMemory = null, CancellationToken ct = default) => _connection.Debug
        ? Task.FromResult(false)
        : KnownAsync("Pausing", clock => SandboxLifecycle.PauseAsync(Api(), Id, keepMemory, clock), ct);

    /// <summary>Measurements of it, oldest first; empty when the service has none.</summary>
    public async Task<IReadOnlyList<SandboxMetrics>> GetMetricsAsync(
        DateTimeOffset? start = null, DateTimeOffset? end = null, CancellationToken ct = default) => _connection.Debug
        ? []
        : await KnownAsync("Asking for metrics", clock => SandboxLifecycle.MetricsAsync(Api(), Id, start, end, clock), ct);

    /// <summary>The host name (no scheme) by which a port of it is reached from outside.</summary>
    public string GetHost(int port) => ServiceAddress.Host(_connection, Id, Domain, port);

    /// <summary>From now on disposing this object leaves the sandbox running.</summary>
    public void Detach() => Volatile.Write(ref _detached, 1);

    /// <summary>
    /// Kills it, unless <see cref="Detach"/> was called. Takes five seconds at most and does not throw; a failure is in
    /// <see cref="DisposalFault"/>.
    /// </summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _detached, 1) == 1)
        {
            return;
        }

        try
        {
            await KillAsync(Id, _connection with { RequestTimeout = s_disposalLimit });
        }
        catch (SandboxException e)
        {
            DisposalFault = e;
        }
    }

    /// <summary>Its id; never a token.</summary>
    public override string ToString() => $"Sandbox {Id}";

    private static Sandbox From(SandboxBody body, SandboxConnection connection, string doing, int createVersion = 0) =>
        ServiceAddress.IsSandboxId(body.SandboxId)
        && (string.IsNullOrEmpty(body.Domain) || ServiceAddress.IsDomain(body.Domain))
        && (string.IsNullOrEmpty(body.EnvdAccessToken) || HeaderText.IsSafe(body.EnvdAccessToken))
            ? new Sandbox(connection, body) { CreateVersion = createVersion }
            : throw new SandboxException(SandboxFault.Protocol, $"{doing} failed: the service gave an id, a domain or a token that can't be used.");

    private ControlPlane Api() => new(_connection, EnvdAccessToken, _trafficAccessToken);

    private static Sandbox DebugSandbox(SandboxConnection connection) =>
        new(connection, new SandboxBody { SandboxId = DebugId, EnvdVersion = "99.99.99" });

    // A sandbox that we hold an object of did exist: that the service does not know it means that it is gone.
    private async Task<T> KnownAsync<T>(string doing, Func<CallClock, Task<T>> call, CancellationToken ct)
    {
        using var clock = new CallClock(_connection, ct);
        try
        {
            return await call(clock);
        }
        catch (SandboxException e) when (e.Reason == SandboxFault.NotFound)
        {
            throw Failure.Lost(Id, doing, e.ServiceMessage, e);
        }
    }
}
