using InterpreterKernel.SandboxHost.Envd;
using InterpreterKernel.SandboxHost.Http;
using InterpreterKernel.SandboxHost.Isolation;
using InterpreterKernel.SandboxHost.Native;
using InterpreterKernel.SandboxHost.Ports;
using InterpreterKernel.SandboxHost.Rest;
using InterpreterKernel.SandboxHost.Sandboxes;
using Microsoft.Extensions.Logging;

namespace InterpreterKernel.SandboxHost;

/// <summary>
/// The embedded host: E2B's REST and envd protocols over sandboxes on this machine.
/// <code>
/// HTTP ─► Router ─┬─► SandboxRoutes ─► SandboxRegistry ─► SandboxFactory ─► runc ─► container ┐
///                 └─► Edge ─┬─► EnvdRoutes ─► ProcessRoutes, FileRoutes ─► LocalSandbox ─► AgentLink ◄──┴─ agent.py
///                           └─► PortRoutes ─► a socket of the sandbox's own network ─► a server in it
/// </code>
/// Disposal kills all sandboxes and returns when nothing of them is left.
/// </summary>
public sealed class SandboxHostApp : IAsyncDisposable
{
    private readonly TaskCompletionSource _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock _gate = new();
    private readonly SandboxHostOptions _options;
    private readonly HostLayout _layout;
    private readonly FileStream _lock;
    private readonly Poller _poller;
    private readonly SandboxRegistry _registry;
    private readonly PortRoutes _ports;
    private readonly HostServer _server;
    private readonly Watchdog? _watchdog;
    private bool _disposed;

    private SandboxHostApp(
        SandboxHostOptions options, HostLayout layout, FileStream stateLock, Poller poller, SandboxRegistry registry, PortRoutes ports, HostServer server, Watchdog? watchdog)
    {
        _options = options;
        _layout = layout;
        _lock = stateLock;
        _poller = poller;
        _registry = registry;
        _ports = ports;
        _server = server;
        _watchdog = watchdog;
    }

    /// <summary>Ends when the host has been disposed of.</summary>
    public Task Completion => _completion.Task;

    /// <summary>The address it listens on, with the port that was chosen where 0 was asked for; of two, the one that is a URL with a port.</summary>
    public string Address => _server.Addresses.OrderBy(address => address.Contains("://unix:", StringComparison.Ordinal)).First();

    /// <summary>Starts the host.</summary>
    /// <exception cref="SandboxHostException">It can't run here; the message names all that is wrong.</exception>
    public static async Task<SandboxHostApp> StartAsync(SandboxHostOptions options, ILoggerFactory loggers, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(loggers);
        var logger = loggers.CreateLogger<SandboxHostApp>();
        var (runtimePath, cgroups) = HostChecks.Require(options);

        // 1. The state is ours alone, and nothing of a predecessor is left in it.
        var layout = HostLayout.For(options.StateDirectory);
        layout.Create();
        var stateLock = layout.TryLock()
            ?? throw new SandboxHostException(SandboxHostFault.InUse, $"another host uses the state directory {options.StateDirectory}; stop it, or choose another directory");
        Poller? poller = null;
        Watchdog? watchdog = null;
        try
        {
            poller = new Poller();
            var runtime = new OciRuntime(runtimePath, layout, cgroups, poller);
            var swept = await Sweep.RunAsync(layout, runtime);
            if (swept > 0)
            {
                logger.Swept(swept, layout.Base);
            }

            layout.Create();

            // 2. Orphans of the runtime become our children, so that none stays behind as a zombie.
            if (LibC.ProcessControl(LibC.SetChildSubreaper, 1, 0, 0, 0) != 0)
            {
                throw NativeException.Last("prctl(PR_SET_CHILD_SUBREAPER)");
            }

            watchdog = options.WatchdogCommand is { Count: > 0 } command ? Watchdog.Start(command, poller) : null;

            // 3. From the sandboxes up to the listener.
            var factory = new SandboxFactory(options, layout, runtime, cgroups, poller, logger);
            await factory.TemplateAsync(null);
            var registry = new SandboxRegistry(options, factory, logger);
            var ports = new PortRoutes();
            var router = new Router(new SandboxRoutes(options, registry, logger), new Edge(registry, new EnvdRoutes(registry), ports), logger);
            var server = await HostServer.StartAsync(options, router.HandleAsync, loggers, cancellationToken);
            logger.HostStarted(string.Join(", ", server.Addresses), layout.Base, options.Limit);
            return new SandboxHostApp(options, layout, stateLock, poller, registry, ports, server, watchdog);
        }
        catch
        {
            if (watchdog is not null)
            {
                await watchdog.DisposeAsync();
            }

            poller?.Dispose();
            layout.Remove();
            await stateLock.DisposeAsync();
            throw;
        }
    }

    /// <summary>What this machine has and lacks for the host, for <c>doctor</c>. Starts nothing but <c>--version</c> commands.</summary>
    public static IReadOnlyList<HostCheck> Check(SandboxHostOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        return HostChecks.Run(options);
    }

    /// <summary>
    /// Removes what a host that died left behind: containers, cgroups, directories. A living host's state is not
    /// touched. Gives the number of sandboxes removed.
    /// </summary>
    public static async Task<int> SweepAsync(string stateDirectory, CancellationToken cancellationToken)
    {
        var layout = HostLayout.For(stateDirectory);
        if (!Directory.Exists(layout.Base))
        {
            return 0;
        }

        await using var stateLock = layout.TryLock();
        if (stateLock is null)
        {
            return 0;
        }

        cancellationToken.ThrowIfCancellationRequested();
        using var poller = new Poller();
        var path = OciRuntime.Find(null);
        var runtime = path is null ? null : new OciRuntime(path, layout, Cgroups.Detect(), poller);
        var count = await Sweep.RunAsync(layout, runtime);
        layout.Remove();
        return count;
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        lock (_gate)
        {
            if (_disposed)
            {
                return;
            }

            _disposed = true;
        }

        // Sandboxes first: killing them ends the requests that the server would wait for.
        await _registry.DisposeAsync();
        await _server.DisposeAsync();
        _ports.Dispose();
        if (_options.UnixSocket is { } socket)
        {
            File.Delete(socket);
        }

        if (_watchdog is not null)
        {
            await _watchdog.DisposeAsync();
        }

        Cgroups.RemoveLeftovers(_layout);
        _layout.Remove();
        await _lock.DisposeAsync();
        _poller.Dispose();
        _completion.TrySetResult();
    }
}
