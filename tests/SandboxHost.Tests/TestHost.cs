using System.Net.Sockets;
using Microsoft.Extensions.Logging;

namespace InterpreterKernel.SandboxHost.Tests;

/// <summary>A host of its own for a test: real runc, a socket in a fresh directory, and a check that nothing is left at the end.</summary>
internal sealed class TestHost : IAsyncDisposable
{
    private TestHost(SandboxHostApp app, SandboxHostOptions options, string directory, TestLog log)
    {
        App = app;
        Options = options;
        Directory = directory;
        Log = log;
        Client = new HostClient(Connect(options.UnixSocket!));
    }

    internal SandboxHostApp App { get; }

    internal SandboxHostOptions Options { get; }

    internal string Directory { get; }

    internal TestLog Log { get; }

    internal HostClient Client { get; }

    internal static async Task<TestHost> StartAsync(Func<SandboxHostOptions, SandboxHostOptions>? change = null)
    {
        var directory = System.IO.Directory.CreateTempSubdirectory("ik-host-").FullName;
        var options = new SandboxHostOptions { StateDirectory = Path.Combine(directory, "state"), UnixSocket = Path.Combine(directory, "s") };
        options = change?.Invoke(options) ?? options;
        var log = new TestLog();
        var app = await SandboxHostApp.StartAsync(options, log, CancellationToken.None);
        return new TestHost(app, options, directory, log);
    }

    internal static HttpClient Connect(string socket) => new(new SocketsHttpHandler
    {
        ConnectCallback = async (_, cancellation) =>
        {
            var connection = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            await connection.ConnectAsync(new UnixDomainSocketEndPoint(socket), cancellation);
            return new NetworkStream(connection, ownsSocket: true);
        },
        PooledConnectionIdleTimeout = TimeSpan.FromSeconds(5),
    })
    {
        BaseAddress = new Uri("http://localhost"),
        Timeout = TimeSpan.FromSeconds(60),
    };

    public async ValueTask DisposeAsync()
    {
        Client.Dispose();
        await App.DisposeAsync();
        System.IO.Directory.Delete(Directory, recursive: true);
        Traces.Of(Options.StateDirectory).ShouldBeEmpty();
        Log.Errors.ShouldBeEmpty();
    }
}

/// <summary>What the host logged; warnings and worse are a test's business.</summary>
internal sealed class TestLog : ILoggerFactory, ILogger
{
    private readonly System.Collections.Concurrent.ConcurrentQueue<(LogLevel Level, string Text)> _lines = new();

    internal IEnumerable<string> Errors => _lines.Where(l => l.Level >= LogLevel.Error).Select(l => l.Text);

    internal IEnumerable<string> All => _lines.Select(l => $"{l.Level}: {l.Text}");

    public ILogger CreateLogger(string categoryName) => this;

    public void AddProvider(ILoggerProvider provider) => throw new NotSupportedException();

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Debug;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
        _lines.Enqueue((logLevel, formatter(state, exception) + (exception is null ? "" : " " + exception)));

    public void Dispose()
    {
    }
}
