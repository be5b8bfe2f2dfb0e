using System.Runtime.CompilerServices;
using System.Threading.Channels;
using InterpreterKernel.Sandbox;
using RemoteSandbox = InterpreterKernel.Sandbox.Sandbox;

namespace InterpreterKernel.Broker.Tests;

/// <summary>A sandbox service in memory that counts as E2B does, and fails where a test says so.</summary>
internal sealed class FakeSandboxService : ISandboxService
{
    private readonly Lock _gate = new();
    private readonly Dictionary<string, IReadOnlyDictionary<string, string>> _alive = [];
    private readonly Channel<string> _calls = Channel.CreateUnbounded<string>();
    private int _created;

    /// <summary>The account's limit.</summary>
    public int Limit { get; set; } = int.MaxValue;

    /// <summary>Sandboxes that somebody else has in the same account.</summary>
    public int HeldByOthers { get; set; }

    /// <summary>The most sandboxes of ours there ever were at once.</summary>
    public int MostAlive { get; private set; }

    public Func<SandboxSpec, Task>? OnCreate { get; set; }

    public Func<string, CancellationToken, Task>? OnKill { get; set; }

    public Func<string, CancellationToken, Task>? OnRenew { get; set; }

    public Func<Task>? OnList { get; set; }

    /// <summary>The answer to a creation is lost on the way, although it took place.</summary>
    public ServiceFault? LoseAnswer { get; set; }

    public List<SandboxSpec> Specs { get; } = [];

    public long LastKillTimestamp { get; private set; }

    public IReadOnlyCollection<string> Alive
    {
        get
        {
            lock (_gate)
            {
                return [.. _alive.Keys];
            }
        }
    }

    /// <summary>Every call, such as <c>create</c>, <c>renew i1 60</c>, <c>kill i1</c>, <c>list</c>.</summary>
    public ChannelReader<string> Calls => _calls.Reader;

    /// <summary>The next call that starts with this; calls before it are passed over.</summary>
    public async Task<string> CallAsync(string start)
    {
        using var bound = new CancellationTokenSource(Bound.Default);
        await foreach (var call in _calls.Reader.ReadAllAsync(bound.Token))
        {
            if (call.StartsWith(start, StringComparison.Ordinal))
            {
                return call;
            }
        }

        throw new InvalidOperationException();
    }

    public async Task<CreatedSandbox> CreateAsync(SandboxSpec spec, CancellationToken cancellation)
    {
        _calls.Writer.TryWrite("create");
        await (OnCreate?.Invoke(spec) ?? Task.CompletedTask);
        string id;
        lock (_gate)
        {
            Specs.Add(spec);
            if (_alive.Count + HeldByOthers >= Limit)
            {
                throw new ServiceException(ServiceFault.ConcurrencyLimit, $"you have reached the maximum number of concurrent E2B sandboxes ({Limit})");
            }

            id = $"i{++_created}";
            _alive.Add(id, spec.Metadata);
            MostAlive = Math.Max(MostAlive, _alive.Count);
        }

        return LoseAnswer is { } fault
            ? throw new ServiceException(fault, "the answer was lost")
            : new CreatedSandbox(id, $"token-{id}", null, "/host.sock");
    }

    public Task<RemoteSandbox> AttachAsync(CreatedSandbox sandbox) => Task.FromResult(
        RemoteSandbox.Attach(sandbox.Id, sandbox.EnvdAccessToken, new SandboxConnection { UnixSocket = "/nowhere" }, sandbox.Domain));

    public async Task<bool> KillAsync(string id, CancellationToken cancellation)
    {
        LastKillTimestamp = TimeProvider.System.GetTimestamp();
        _calls.Writer.TryWrite($"kill {id}");
        await (OnKill?.Invoke(id, cancellation) ?? Task.CompletedTask);
        return Remove(id);
    }

    public async Task SetTimeoutAsync(string id, TimeSpan lifetime, CancellationToken cancellation)
    {
        _calls.Writer.TryWrite($"renew {id} {lifetime.TotalSeconds:0}");
        await (OnRenew?.Invoke(id, cancellation) ?? Task.CompletedTask);
        if (!Alive.Contains(id))
        {
            throw new ServiceException(ServiceFault.NotFound, "no such sandbox");
        }
    }

    public async IAsyncEnumerable<ListedSandbox> ListAsync(
        IReadOnlyDictionary<string, string> metadata, [EnumeratorCancellation] CancellationToken cancellation)
    {
        _calls.Writer.TryWrite("list");
        await (OnList?.Invoke() ?? Task.CompletedTask);
        List<ListedSandbox> found;
        lock (_gate)
        {
            found = [.. _alive.Where(s => metadata.All(m => s.Value.GetValueOrDefault(m.Key) == m.Value)).Select(s => new ListedSandbox(s.Key, s.Value))];
        }

        foreach (var sandbox in found)
        {
            yield return sandbox;
        }
    }

    public void Add(string id, IReadOnlyDictionary<string, string> metadata)
    {
        lock (_gate)
        {
            _alive.Add(id, metadata);
        }
    }

    public bool Remove(string id)
    {
        lock (_gate)
        {
            return _alive.Remove(id);
        }
    }
}
