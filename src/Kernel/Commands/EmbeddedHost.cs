using InterpreterKernel.Broker;
using InterpreterKernel.Kernel.Configuration;
using InterpreterKernel.Sandbox;
using InterpreterKernel.SandboxHost;
using Microsoft.Extensions.Logging;

namespace InterpreterKernel.Kernel.Commands;

/// <summary>
/// The embedded host inside the broker's process: started when the first claim needs it, stopped with the broker. Broker and
/// kernels reach it by the same protocol as any other service, over its own unix socket.
/// </summary>
internal sealed class EmbeddedHost(RuntimeDirectory directory, ILoggerFactory loggers) : IAsyncDisposable
{
    private readonly SemaphoreSlim _gate = new(1, 1);
    private SandboxHostApp? _app;

    private string Socket => Path.Combine(directory.Path, "host.sock");

    /// <summary>How the host is set up by <paramref name="settings"/>.</summary>
    public static SandboxHostOptions Options(RuntimeDirectory directory, Settings settings, string? python) => new()
    {
        StateDirectory = Path.Combine(directory.Path, "host"),
        UnixSocket = Path.Combine(directory.Path, "host.sock"),

        // The claims bring the limit; the host's own would only hide it.
        Limit = 1000,
        Python = python,
        RootFilesystem = settings.RootFilesystem,
        AllowNetwork = settings.Network,
        AcceptUnenforced = [.. settings.Unenforced],
        Resources = new SandboxResources
        {
            MemoryBytes = settings.Memory,
            DiskBytes = settings.Disk,
            TmpBytes = Math.Max(settings.Disk / 2, 1 << 20),
            Cpus = settings.Cpus,
            Pids = settings.Pids,
        },
        WatchdogCommand = [.. SelfCommand.Get(), "sweep", "--quiet"],
    };

    /// <summary>Starts it, unless it runs, and says how to reach it.</summary>
    public async Task<SandboxConnection> StartAsync(CancellationToken cancellationToken)
    {
        await _gate.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            if (_app is null)
            {
                var settings = SettingsReader.Read(new Dictionary<string, string>(), Environment.GetEnvironmentVariable, SettingsReader.UserFile(), out var faults);
                if (faults.Count > 0)
                {
                    throw new InvalidOperationException("The configuration has faults: " + string.Join(" ", faults));
                }

                var python = settings.RootFilesystem is null ? EmbeddedPython.Find(settings, out var tried)
                    ?? throw new InvalidOperationException(NoPython(tried)) : null;
                _app = await SandboxHostApp.StartAsync(Options(directory, settings, python?.Path), loggers, cancellationToken).ConfigureAwait(false);
            }
        }
        finally
        {
            _gate.Release();
        }

        return new SandboxConnection { UnixSocket = Socket };
    }

    /// <summary>Stops it; every sandbox of it is gone then.</summary>
    public async ValueTask DisposeAsync()
    {
        if (_app is not null)
        {
            await _app.DisposeAsync().ConfigureAwait(false);
        }
    }

    /// <summary>What to say when no interpreter will do.</summary>
    public static string NoPython(IReadOnlyList<string> tried) =>
        $"No Python with ipykernel was found (tried {string.Join(", ", tried.Where(File.Exists).DefaultIfEmpty("none, no python3 is installed"))}). "
        + "Install it, for example: apt-get install python3-ipykernel, or pip install ipykernel into an environment and set 'python' to its interpreter.";
}
