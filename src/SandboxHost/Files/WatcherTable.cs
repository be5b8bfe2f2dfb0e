using System.Security.Cryptography;
using InterpreterKernel.Protocol.Envd;
using InterpreterKernel.SandboxHost.Sandboxes;

namespace InterpreterKernel.SandboxHost.Files;

/// <summary>The watchers of a sandbox that gather changes until they are asked for them.</summary>
internal sealed class WatcherTable
{
    private const int MaxWatchers = 64;

    private readonly Dictionary<string, Watcher> _watchers = [];
    private readonly Lock _gate = new();

    /// <summary>Starts one and gives its id.</summary>
    /// <exception cref="FileTaskException">The directory can't be watched, or there are too many watchers.</exception>
    internal async Task<string> CreateAsync(LocalSandbox sandbox, WatchDirRequest request)
    {
        var watcher = await Watcher.StartAsync(sandbox, request);
        lock (_gate)
        {
            if (_watchers.Count < MaxWatchers)
            {
                var id = "w" + RandomNumberGenerator.GetHexString(20, lowercase: true);
                _watchers[id] = watcher;
                return id;
            }
        }

        watcher.Stop();
        const int tooMany = 7;
        throw new FileTaskException(tooMany, $"the sandbox has {MaxWatchers} watchers already; remove some");
    }

    internal Watcher? Find(string id)
    {
        lock (_gate)
        {
            return _watchers.GetValueOrDefault(id);
        }
    }

    internal bool Remove(string id)
    {
        lock (_gate)
        {
            if (_watchers.Remove(id, out var watcher))
            {
                watcher.Stop();
                return true;
            }
        }

        return false;
    }
}

/// <summary>Gathers the changes of one directory.</summary>
internal sealed class Watcher
{
    private const int MaxEvents = 20_000;

    private readonly CancellationTokenSource _stop;
    private readonly Lock _gate = new();
    private List<FilesystemEvent> _events = [];
    private FileTaskException? _fault;

    private Watcher(CancellationTokenSource stop)
    {
        _stop = stop;
    }

    internal static async Task<Watcher> StartAsync(LocalSandbox sandbox, WatchDirRequest request)
    {
        var stop = CancellationTokenSource.CreateLinkedTokenSource(sandbox.Gone);
        try
        {
            var watch = await DirectoryWatch.StartAsync(sandbox, request, stop.Token);
            var watcher = new Watcher(stop);
            _ = watcher.GatherAsync(watch);
            return watcher;
        }
        catch
        {
            stop.Dispose();
            throw;
        }
    }

    /// <summary>What changed since the last time.</summary>
    /// <exception cref="FileTaskException">The watch broke off, so that this is not known.</exception>
    internal IReadOnlyList<FilesystemEvent> Take()
    {
        lock (_gate)
        {
            if (_fault is not null)
            {
                throw _fault;
            }

            var taken = _events;
            _events = [];
            return taken;
        }
    }

    internal void Stop() => _stop.Cancel();

    private async Task GatherAsync(DirectoryWatch watch)
    {
        try
        {
            while (true)
            {
                var change = await watch.NextAsync();
                lock (_gate)
                {
                    _events.Add(change);
                    if (_events.Count > MaxEvents)
                    {
                        _events = [];
                        _fault = new FileTaskException(5, $"watcher error: more than {MaxEvents} changes were not asked for");
                        return;
                    }
                }
            }
        }
        catch (FileTaskException e)
        {
            lock (_gate)
            {
                _fault = e;
            }
        }
        catch (OperationCanceledException)
        {
            return; // removed, or its sandbox is
        }
        finally
        {
            watch.Dispose();
        }
    }
}
