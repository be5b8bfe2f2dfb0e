using InterpreterKernel.Broker;
using InterpreterKernel.Kernel.Configuration;
using InterpreterKernel.Kernel.Lifecycle;
using InterpreterKernel.Sandbox;

namespace InterpreterKernel.Kernel.Remote;

/// <summary>
/// Gets remote kernels, step by step: (1) a broker, (2) a claim, (3) the sandbox, (4) the relay in it, (5) the kernel.
/// </summary>
internal sealed class RemoteKernels
{
    private readonly Settings _settings;
    private readonly string _claimKey;
    private readonly string _label;
    private string? _firstSession;
    private readonly TimeProvider _time;
    private readonly KernelLog _log;
    private readonly SandboxConnection? _service;
    private Task _prepared = Task.CompletedTask;

    /// <summary>Makes it.</summary>
    /// <param name="settings">What was configured.</param>
    /// <param name="service">The sandbox service; null for the embedded host.</param>
    /// <param name="claimKey">The same for the next process with this connection file, and for no other.</param>
    /// <param name="label">What people call this notebook.</param>
    /// <param name="session">The session id that the first remote kernel is to have; a later one has another.</param>
    /// <param name="time">The clock.</param>
    /// <param name="log">The kernel's log.</param>
    public RemoteKernels(Settings settings, SandboxConnection? service, string claimKey, string label, string session, TimeProvider time, KernelLog log)
    {
        _settings = settings;
        _service = service;
        _claimKey = claimKey;
        _label = label;
        _firstSession = session;
        _time = time;
        _log = log;
    }

    /// <summary>All that the remote kernel's kernel_info depends on.</summary>
    public IReadOnlyList<string?> Identity =>
        [Address?.ToString() ?? "embedded", _settings.Template, _settings.Kernel, _settings.Python, _settings.RootFilesystem];

    /// <summary>Starts a broker while there is time. What fails here fails again, with a reader, when it is needed.</summary>
    public void PrepareInBackground() => _prepared = Task.Run(async () =>
    {
        try
        {
            await Launcher(RuntimeDirectory.Open()).EnsureRunningAsync().ConfigureAwait(false);
        }
        catch (Exception e)
        {
            _log.Debug("The broker did not start: " + e.Message);
        }
    });

    /// <summary>The steps. A <see cref="RemoteConnector"/>.</summary>
    public async Task<IRemoteKernel> ConnectAsync(Action<string> waiting, CancellationToken cancellationToken)
    {
        Claim? claim = null;
        try
        {
            // (1) A broker: the one of this user, started when none runs.
            await _prepared.WaitAsync(cancellationToken).ConfigureAwait(false);
            var directory = RuntimeDirectory.Open();
            var broker = new BrokerClient(directory, Launcher(directory), _time);

            // (2) A claim: one open response, which is the sandbox's life.
            var relay = RelayFile.Current;
            claim = await broker.ClaimAsync(Request(relay), cancellationToken).ConfigureAwait(false);
            var events = claim.ReadEventsAsync(CancellationToken.None).GetAsyncEnumerator(CancellationToken.None);
            var granted = await GrantedAsync(events, waiting, cancellationToken).ConfigureAwait(false);

            // (3) The sandbox, which the broker has created.
            var sandbox = Sandbox.Sandbox.Attach(granted.Id, granted.EnvdAccessToken, ConnectionTo(granted), granted.Domain);

            // (4) What the template lacks for the relay, which comes with the first attachment to it. In a spare it runs already.
            waiting("Starting the kernel in the sandbox");
            if (_settings.PipInstall)
            {
                await TemplateNeeds.EnsureAsync(sandbox, waiting, cancellationToken).ConfigureAwait(false);
            }

            // (5) The kernel. In a sandbox that was handed over the old one is replaced, and its files stay.
            var session = Interlocked.Exchange(ref _firstSession, null) ?? Guid.NewGuid().ToString();
            var kernel = new RemoteKernel(claim, events, sandbox, relay, granted.Attachment, session, _time, _log);
            try
            {
                await kernel.StartAsync(_settings.Kernel, adopt: granted.Warm, _settings.StartTimeout, cancellationToken).ConfigureAwait(false);
            }
            catch (Exception e)
            {
                var advice = e is RemoteUnavailableException { Name: "KernelStartFailed" }
                    ? await TemplateNeeds.AdviceAsync(sandbox, _service is null ? null : _settings.Template, cancellationToken).ConfigureAwait(false)
                    : null;
                await kernel.DisposeAsync().ConfigureAwait(false);
                if (advice is not null)
                {
                    throw new RemoteUnavailableException("KernelStartFailed", $"{e.Message}\n{advice}", e);
                }

                throw;
            }

            return kernel;
        }
        catch (Exception e)
        {
            if (claim is not null)
            {
                await claim.DisposeAsync().ConfigureAwait(false);
            }

            throw e switch
            {
                OperationCanceledException when cancellationToken.IsCancellationRequested => e,
                RemoteUnavailableException => e,
                SandboxException s => new RemoteUnavailableException(RemoteEnds.NameOf(s), s.Message, s),
                BrokerException b => new RemoteUnavailableException("BrokerUnavailable", b.Message, b),
                _ => new RemoteUnavailableException("SandboxUnavailable", $"No sandbox could be started: {e.Message}", e),
            };
        }
    }

    private static async Task<GrantedSandbox> GrantedAsync(
        IAsyncEnumerator<ClaimEvent> events, Action<string> waiting, CancellationToken cancellationToken)
    {
        while (await events.MoveNextAsync().AsTask().WaitAsync(cancellationToken).ConfigureAwait(false))
        {
            switch (events.Current)
            {
                case { Event: ClaimEvents.Queued } queued:
                    waiting($"Waiting for a free sandbox: place {queued.Position} in the queue, {queued.Limit} may run at once");
                    break;
                case { Event: ClaimEvents.Creating }:
                    waiting("Creating a sandbox");
                    break;
                case { Event: ClaimEvents.Ready, Sandbox: { } sandbox }:
                    return sandbox;
                case { Event: ClaimEvents.Failed or ClaimEvents.Lost } failed:
                    throw new RemoteUnavailableException(RemoteEnds.NameOfRefusal(failed.Reason), failed.Message ?? "No sandbox could be had.");
            }
        }

        throw new RemoteUnavailableException("BrokerUnavailable", "The broker went away while it made a sandbox. Run the cell again.");
    }

    private ServiceAddress? Address => _service is null
        ? null
        : new ServiceAddress
        {
            ApiKey = _service.ApiKey,
            ApiUrl = _service.ApiUrl,
            SandboxUrl = _service.SandboxUrl,
            Domain = _service.Domain,
            Debug = _service.Debug,
        };

    private BrokerLauncher Launcher(RuntimeDirectory directory) => new(directory, [.. SelfCommand.Get(), "broker"], time: _time);

    private ClaimRequest Request(RelayFile relay) => new()
    {
        Key = _claimKey,
        Owner = new ClaimOwner(Environment.ProcessId, _label),
        Service = Address,
        Template = _settings.Template,
        Limit = _settings.Limit,
        Wait = _settings.Wait switch
        {
            null => null,
            { Ticks: 0 } => new ClaimWait(ClaimWait.RejectPolicy, null),
            { } patience => new ClaimWait(ClaimWait.WaitPolicy, patience.TotalSeconds),
        },
        LifetimeSeconds = (int)_settings.Lifetime.TotalSeconds,
        Python = _service is null ? _settings.Python : null,
        Resources = _service is null ? new ClaimResources(_settings.Memory, _settings.Disk, _settings.Cpus, _settings.Pids) : null,

        // What is installed first can't be started ahead.
        Spare = (_service is null ? _settings.Spares : _settings.RemoteSpares) is var count and > 0 && !_settings.PipInstall
            ? new SpareWish(_settings.Kernel, relay.Hash, count)
            : null,
    };

    private SandboxConnection ConnectionTo(GrantedSandbox granted) => granted.UnixSocket is { } socket
        ? new SandboxConnection { UnixSocket = socket, RequestTimeout = _settings.RequestTimeout, TimeProvider = _time }
        : _service! with { RequestTimeout = _settings.RequestTimeout, TimeProvider = _time };
}
