using System.Net.Sockets;
using System.Runtime.InteropServices;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace InterpreterKernel.Broker;

/// <summary>
/// The broker as a whole: one per user, from taking the lock to giving it back. While it has the lock, the socket's
/// file, the records of instances and the embedded host's directory are its own.
/// </summary>
public sealed class BrokerApp : IAsyncDisposable
{
    private readonly BrokerOptions _options;
    private readonly ILogger _log;
    private readonly FileLock _lock;
    private readonly InstanceRecords _records;
    private readonly ClaimDesk _desk;
    private readonly KestrelServer _server;
    private readonly TaskCompletionSource<string> _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly CancellationTokenSource _stopping = new();
    private int _disposed;

    private BrokerApp(BrokerOptions options, ILoggerFactory loggers, FileLock taken, InstanceRecords records)
    {
        _options = options;
        _log = loggers.CreateLogger("Broker");
        _lock = taken;
        _records = records;
        var host = SandboxTags.ThisHost();
        var deskOptions = new DeskOptions
        {
            Limit = options.Limit,
            Pace = Pace.Remote,
            Handover = options.Handover,
            IdleExit = options.IdleExit,
            TimeProvider = options.TimeProvider,
            Instance = records.Id,
            Host = host,
            Version = options.Version,
            Spares = options.Spares,
        };
        _desk = new ClaimDesk(deskOptions, options.Services ?? ServiceOf, new Sweep(host, records.Dead, _log), _log);
        _server = MakeServer(loggers);
    }

    /// <summary>Ends, with the reason, when the broker should go: it was idle for long enough, or was asked to. Then dispose it.</summary>
    public Task<string> Completion => _completion.Task;

    /// <summary>Takes the lock and serves. When this returns, the socket answers.</summary>
    /// <exception cref="BrokerException">Another broker serves this directory, or the directory cannot be used.</exception>
    public static async Task<BrokerApp> StartAsync(BrokerOptions options, ILoggerFactory loggers, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(loggers);
        var taken = await TakeLockAsync(options, cancellation);
        BrokerApp? app = null;
        try
        {
            app = new BrokerApp(options, loggers, taken, InstanceRecords.Enter(options.Directory, options.TimeProvider));

            // What is there now is a dead broker's: a living one would hold the lock.
            File.Delete(options.Directory.SocketPath);
            var endpoints = new BrokerEndpoints(app._desk, options.TimeProvider, app.ShutDown, app._log);
            await app._server.StartAsync(endpoints, cancellation);
            taken.Sign($"{Environment.ProcessId} {options.Version}\n");
            app._log.Serving(options.Version, app._records.Id, Environment.ProcessId, options.Directory.SocketPath);
            _ = app.WatchIdleAsync();
            _ = app.SweepEmbeddedAsync();
            return app;
        }
        catch
        {
            if (app is not null)
            {
                await app.DisposeAsync();
            }

            taken.Dispose();
            throw;
        }
    }

    /// <summary>Serves until idle, told to stop, or signalled (SIGTERM, SIGINT, SIGHUP): what <c>interpreter-kernel broker</c> does.</summary>
    /// <returns>The exit code. 0 also when another broker serves already: then there is nothing to do.</returns>
    public static async Task<int> RunAsync(BrokerOptions options, ILoggerFactory loggers, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        var signalled = new TaskCompletionSource<string>(TaskCreationOptions.RunContinuationsAsynchronously);
        void OnSignal(PosixSignalContext context)
        {
            // The default would end the process before the sandboxes are killed.
            context.Cancel = true;
            signalled.TrySetResult(context.Signal.ToString());
        }

        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, OnSignal);
        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, OnSignal);
        using var hangUp = PosixSignalRegistration.Create(PosixSignal.SIGHUP, OnSignal);
        await using var cancelled = cancellation.Register(() => signalled.TrySetResult("cancelled"));
        var readiness = LaunchSignal.FromEnvironment();
        try
        {
            await using var app = await StartAsync(options, loggers, cancellation);
            readiness?.Ready();
            app._log.Stopping(await await Task.WhenAny(app.Completion, signalled.Task));
            return 0;
        }
        catch (BrokerException e) when (e.Fault == BrokerFault.AlreadyRunning)
        {
            readiness?.Ready();
            return 0;
        }
        catch (Exception e) when (e is BrokerException or IOException or UnauthorizedAccessException or SocketException)
        {
            // The launcher shows the end of what we said, so it is one line and not a stack.
            await Console.Error.WriteLineAsync(e.Message);
            return 1;
        }
    }

    /// <summary>Kills all sandboxes, bounded by <see cref="BrokerOptions.StopBound"/>, and leaves nothing behind.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
        {
            return;
        }

        await _stopping.CancelAsync();

        // First the kills, at once; the server still answers meanwhile, but grants nothing more.
        var unconfirmed = await _desk.StopAsync(_options.StopBound);
        using (var bound = new CancellationTokenSource(TimeSpan.FromSeconds(2)))
        {
            await _server.StopAsync(bound.Token);
        }

        _server.Dispose();
        if (_options.StopEmbeddedHost is { } stop)
        {
            await stop();
        }

        _desk.Dispose();
        File.Delete(_options.Directory.SocketPath);
        if (unconfirmed == 0)
        {
            _records.Leave();
        }

        _log.Stopped(unconfirmed);
        _stopping.Dispose();
        _completion.TrySetResult("disposed");

        // Last of all: from here on another broker may start.
        _lock.Dispose();
    }

    private static async Task<FileLock> TakeLockAsync(BrokerOptions options, CancellationToken cancellation)
    {
        var started = options.TimeProvider.GetTimestamp();
        while (true)
        {
            if (await FileLock.TakeAsync(options.Directory.LockPath, TimeSpan.FromMilliseconds(100), options.TimeProvider, cancellation) is { } taken)
            {
                return taken;
            }

            // The holder serves, is about to, or is just stopping: only the last is worth waiting for.
            if (await AnswersAsync(options.Directory, cancellation)
                || options.TimeProvider.GetElapsedTime(started) > options.LockPatience)
            {
                throw new BrokerException(BrokerFault.AlreadyRunning, $"Another broker serves {options.Directory}. Use that one.");
            }
        }
    }

    /// <summary>Whether somebody listens on the socket.</summary>
    internal static async Task<bool> AnswersAsync(RuntimeDirectory directory, CancellationToken cancellation)
    {
        if (!File.Exists(directory.SocketPath))
        {
            // A refused connection says the same, but its exception costs a start some 30 ms: it is made with a stack trace.
            return false;
        }

        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(directory.SocketPath), cancellation);
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    private KestrelServer MakeServer(ILoggerFactory loggers)
    {
        var options = new KestrelServerOptions { AddServerHeader = false };
        options.Limits.MaxRequestBodySize = BrokerEndpoints.LargestBody + 1;
        options.Limits.MaxRequestHeadersTotalSize = 16 * 1024;
        options.Limits.MaxRequestLineSize = 4 * 1024;
        options.Limits.RequestHeadersTimeout = TimeSpan.FromSeconds(10);

        // A kernel that is stopped in a debugger does not read its stream, and holds its sandbox all the same.
        options.Limits.MinResponseDataRate = null;
        options.ListenUnixSocket(_options.Directory.SocketPath, listen =>
        {
            listen.Protocols = HttpProtocols.Http1;
            listen.Use(next => PeerCheck.Wrap(next, _log));
        });
        var transport = new SocketTransportFactory(Options.Create(new SocketTransportOptions()), loggers);
        return new KestrelServer(Options.Create(options), transport, loggers);
    }

    private SandboxService ServiceOf(ServiceAddress? address) => address is null
        ? SandboxService.Embedded(_options.EmbeddedHost)
        : SandboxService.Remote(address, _options.TimeProvider);

    private void ShutDown(string why) => _completion.TrySetResult(why);

    private async Task WatchIdleAsync()
    {
        await _desk.Idle;
        ShutDown("idle");
    }

    private async Task SweepEmbeddedAsync()
    {
        if (_options.SweepEmbedded is not { } sweep)
        {
            return;
        }

        await Task.Yield();
        try
        {
            await sweep(_stopping.Token);
        }
        catch (Exception e)
        {
            _log.SweepFailed(e.Message);
        }
    }
}
