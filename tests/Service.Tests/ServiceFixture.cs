using InterpreterKernel.Sandbox;
using InterpreterKernel.SandboxHost;
using Microsoft.Extensions.Logging.Abstractions;

namespace InterpreterKernel.Service.Tests;

/// <summary>The embedded host on a port, and our own client's way to it: both ends of one protocol, over TCP.</summary>
public sealed class ServiceFixture : IAsyncDisposable
{
    private const string Key = "e2b_0123456789abcdef0123456789abcdef01234567";

    private readonly SandboxHostApp _host;
    private readonly string _directory;

    private ServiceFixture(SandboxHostApp host, string directory)
    {
        _host = host;
        _directory = directory;
        Address = new Uri(host.Address);
        Connection = new SandboxConnection { ApiKey = Key, ApiUrl = Address, SandboxUrl = Address, RequestTimeout = TimeSpan.FromSeconds(60) };
    }

    public Uri Address { get; }

    public SandboxConnection Connection { get; }

    /// <summary>The variables by which E2B's own SDKs find it.</summary>
    public IReadOnlyDictionary<string, string> Variables => new Dictionary<string, string>
    {
        ["E2B_API_URL"] = Address.ToString().TrimEnd('/'),
        ["E2B_SANDBOX_URL"] = Address.ToString().TrimEnd('/'),
        ["E2B_API_KEY"] = Key,
    };

    public static async Task<ServiceFixture> StartAsync(int limit = 20)
    {
        var directory = Directory.CreateTempSubdirectory("ik-service-").FullName;
        var options = new SandboxHostOptions
        {
            StateDirectory = Path.Combine(directory, "host"),
            ListenUrl = new Uri("http://127.0.0.1:0"),
            ApiKey = Key,
            Limit = limit,
            Python = "/usr/bin/python3",
            Resources = new SandboxResources { MemoryBytes = 512L << 20, DiskBytes = 64L << 20, TmpBytes = 32L << 20, Cpus = 2, Pids = 64 },
        };
        return new ServiceFixture(await SandboxHostApp.StartAsync(options, NullLoggerFactory.Instance, CancellationToken.None), directory);
    }

    /// <summary>How many sandboxes run now, as the service counts them.</summary>
    public async Task<int> CountAsync() =>
        await Sandbox.Sandbox.ListAsync(Connection, new SandboxListQuery { States = [SandboxState.Running] }).CountAsync();

    public async ValueTask DisposeAsync()
    {
        await _host.DisposeAsync();
        var left = Directory.EnumerateFileSystemEntries(Path.Combine(_directory, "host"), "*", SearchOption.AllDirectories).Where(File.Exists).ToList();
        Directory.Delete(_directory, recursive: true);
        left.ShouldBeEmpty();
    }
}
