using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;

namespace InterpreterKernel.Broker;

/// <summary>
/// Kills what brokers of this directory left when they died. An account is swept when it is first used, because its key
/// comes with the claim and is kept nowhere. Only sandboxes that carry this machine's and user's tag and the id of a
/// broker that is recorded here as dead are touched: never those of another directory, machine or user of the account.
/// </summary>
internal sealed class Sweep(string host, IReadOnlySet<string> dead, ILogger log)
{
    private readonly ConcurrentDictionary<AccountKey, Task> _done = new();

    /// <summary>A sweep with nothing to do.</summary>
    public static Sweep Nothing(ILogger log) => new("", new HashSet<string>(), log);

    /// <summary>Sweeps the account in the background, once; after a failure the next claim tries again.</summary>
    public Task Start(Account account) => dead.Count == 0
        ? Task.CompletedTask
        : _done.GetOrAdd(account.Key, static (key, work) => work.Self.RunAsync(key, work.Service), (Self: this, account.Service));

    private async Task RunAsync(AccountKey key, ISandboxService service)
    {
        // The claim that brought the key does not wait for the sweep.
        await Task.Yield();
        try
        {
            await foreach (var found in service.ListAsync(new Dictionary<string, string> { [SandboxTags.Host] = host }, CancellationToken.None))
            {
                if (found.Metadata.TryGetValue(SandboxTags.Broker, out var instance)
                    && dead.Contains(instance)
                    && found.Metadata.GetValueOrDefault(SandboxTags.Host) == host)
                {
                    await service.KillAsync(found.Id, CancellationToken.None);
                    log.Swept(found.Id, instance);
                }
            }
        }
        catch (Exception e)
        {
            log.SweepFailed(e.Message);
            _done.TryRemove(key, out _);
        }
    }
}
