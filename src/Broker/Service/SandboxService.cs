using System.Runtime.CompilerServices;
using InterpreterKernel.Sandbox;
using RemoteSandbox = InterpreterKernel.Sandbox.Sandbox;

namespace InterpreterKernel.Broker;

/// <summary>The real service, near or far, by way of the sandbox library.</summary>
internal sealed class SandboxService : ISandboxService
{
    private readonly Func<CancellationToken, Task<SandboxConnection>> _connect;
    private readonly Lock _gate = new();
    private Task<SandboxConnection>? _connection;

    private SandboxService(Func<CancellationToken, Task<SandboxConnection>> connect) => _connect = connect;

    public static SandboxService Remote(ServiceAddress address, TimeProvider time)
    {
        var connection = new SandboxConnection
        {
            ApiKey = address.ApiKey,
            Domain = address.Domain ?? SandboxConnection.DefaultDomain,
            ApiUrl = address.ApiUrl,
            SandboxUrl = address.SandboxUrl,
            Debug = address.Debug,
            TimeProvider = time,
        };
        return new SandboxService(_ => Task.FromResult(connection));
    }

    /// <summary>The embedded host, started by the first creation.</summary>
    public static SandboxService Embedded(Func<CancellationToken, Task<SandboxConnection>>? start) => new(
        start ?? (_ => throw new ServiceException(ServiceFault.EmbeddedHost, "this broker was started without one")));

    public async Task<CreatedSandbox> CreateAsync(SandboxSpec spec, CancellationToken cancellation)
    {
        var connection = await ConnectAsync();
        return await AskAsync(async () =>
        {
            var options = new SandboxOptions
            {
                Template = spec.Template,
                Timeout = spec.Lifetime,
                Metadata = spec.Metadata,
                EnvVars = spec.EnvVars,
            };
            await using var sandbox = await RemoteSandbox.CreateAsync(options, connection, cancellation);

            // The broker ends it, not this object.
            sandbox.Detach();
            return new CreatedSandbox(sandbox.Id, sandbox.EnvdAccessToken, sandbox.Domain, connection.UnixSocket);
        });
    }

    public async Task<RemoteSandbox> AttachAsync(CreatedSandbox sandbox) =>
        RemoteSandbox.Attach(sandbox.Id, sandbox.EnvdAccessToken, await ConnectAsync(), sandbox.Domain);

    public async Task<bool> KillAsync(string id, CancellationToken cancellation)
    {
        var connection = await ConnectAsync();
        return await AskAsync(() => RemoteSandbox.KillAsync(id, connection, cancellation));
    }

    public async Task SetTimeoutAsync(string id, TimeSpan lifetime, CancellationToken cancellation)
    {
        var connection = await ConnectAsync();
        await AskAsync(async () =>
        {
            await RemoteSandbox.Attach(id, null, connection).SetTimeoutAsync(lifetime, cancellation);
            return true;
        });
    }

    public async IAsyncEnumerable<ListedSandbox> ListAsync(
        IReadOnlyDictionary<string, string> metadata,
        [EnumeratorCancellation] CancellationToken cancellation)
    {
        var connection = await ConnectAsync();
        var query = new SandboxListQuery { Metadata = metadata };
        await using var list = RemoteSandbox.ListAsync(connection, query, cancellation).GetAsyncEnumerator(cancellation);
        while (await AskAsync(async () => await list.MoveNextAsync()))
        {
            yield return new ListedSandbox(list.Current.Id, list.Current.Metadata);
        }
    }

    private static async Task<T> AskAsync<T>(Func<Task<T>> ask)
    {
        try
        {
            return await ask();
        }
        catch (SandboxException e)
        {
            var fault = e.Reason switch
            {
                SandboxFault.NotFound or SandboxFault.SandboxLost => ServiceFault.NotFound,
                SandboxFault.ConcurrencyLimit => ServiceFault.ConcurrencyLimit,
                SandboxFault.RateLimited => ServiceFault.RateLimited,
                SandboxFault.Authentication => ServiceFault.Authentication,
                SandboxFault.Forbidden or SandboxFault.InvalidRequest or SandboxFault.Unsupported or SandboxFault.Conflict => ServiceFault.Rejected,
                SandboxFault.ServiceBusy => ServiceFault.Busy,
                SandboxFault.Unreachable when e.NeverSent => ServiceFault.NeverSent,
                SandboxFault.Unreachable => ServiceFault.Unreachable,
                SandboxFault.RequestTimeout => ServiceFault.Timeout,
                _ => ServiceFault.ServiceError,
            };
            throw new ServiceException(fault, e.Message, e.RetryAfter, e);
        }
    }

    private async Task<SandboxConnection> ConnectAsync()
    {
        Task<SandboxConnection> connecting;
        lock (_gate)
        {
            // One start serves all who wait for it; a failed one is tried again by the next claim.
            if (_connection is null or { IsFaulted: true } or { IsCanceled: true })
            {
                _connection = StartAsync();
            }

            connecting = _connection;
        }

        return await connecting;
    }

    private async Task<SandboxConnection> StartAsync()
    {
        await Task.Yield();
        try
        {
            return await _connect(CancellationToken.None);
        }
        catch (Exception e) when (e is not ServiceException)
        {
            throw new ServiceException(ServiceFault.EmbeddedHost, e.Message, null, e);
        }
    }
}
