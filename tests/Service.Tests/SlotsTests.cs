using System.Collections.Concurrent;
using InterpreterKernel.Sandbox;

namespace InterpreterKernel.Service.Tests;

/// <summary>The story that this project began with: who waits for a kill to return never meets the limit.</summary>
public sealed class SlotsTests
{
    private const int Workers = 15;
    private const int Tasks = 40;

    [Theory]
    [InlineData(20)]
    [InlineData(15)]
    public async Task Fifteen_workers_run_forty_short_tasks_without_a_refusal(int limit)
    {
        await using var service = await ServiceFixture.StartAsync(limit);
        var tasks = new ConcurrentQueue<int>(Enumerable.Range(0, Tasks));
        using var done = new CancellationTokenSource();
        var watching = WatchAsync(service, done.Token);
        var outputs = new ConcurrentBag<string>();

        async Task WorkAsync()
        {
            while (tasks.TryDequeue(out var number))
            {
                var sandbox = await Sandbox.Sandbox.CreateAsync(new SandboxOptions(), service.Connection);
                outputs.Add((await sandbox.Commands.RunAsync($"echo {number}")).Stdout);
                (await sandbox.KillAsync()).ShouldBeTrue();
            }
        }

        await Task.WhenAll(Enumerable.Range(0, Workers).Select(_ => WorkAsync()));
        await done.CancelAsync();

        outputs.Select(o => int.Parse(o, null)).Order().ShouldBe(Enumerable.Range(0, Tasks));
        var (most, samples) = await watching;
        samples.ShouldBeGreaterThan(10);
        most.ShouldBeInRange(2, Workers);
        (await service.CountAsync()).ShouldBe(0);
    }

    [Fact]
    public async Task The_count_is_exact_as_soon_as_a_kill_has_returned()
    {
        await using var service = await ServiceFixture.StartAsync();
        var alive = new List<Sandbox.Sandbox>();
        for (var i = 0; i < 5; i++)
        {
            alive.Add(await Sandbox.Sandbox.CreateAsync(new SandboxOptions(), service.Connection));
            (await service.CountAsync()).ShouldBe(i + 1);
        }

        foreach (var sandbox in alive)
        {
            var before = await service.CountAsync();
            await sandbox.KillAsync();
            (await service.CountAsync()).ShouldBe(before - 1);
        }
    }

    [Fact]
    public async Task Of_twenty_five_at_once_at_a_limit_of_twenty_exactly_five_are_refused_cleanly()
    {
        await using var service = await ServiceFixture.StartAsync(limit: 20);
        async Task<object> CreateAsync()
        {
            try
            {
                return await Sandbox.Sandbox.CreateAsync(new SandboxOptions(), service.Connection);
            }
            catch (SandboxException e)
            {
                return e;
            }
        }

        var results = await Task.WhenAll(Enumerable.Range(0, 25).Select(_ => CreateAsync()));
        var refused = results.OfType<SandboxException>().ToList();

        refused.Count.ShouldBe(5);
        refused.ShouldAllBe(e => e.Reason == SandboxFault.ConcurrencyLimit && e.HttpStatus == 429 && e.RetryAfter == null);
        refused.ShouldAllBe(e => e.ServiceMessage!.Contains("20"));
        (await service.CountAsync()).ShouldBe(20);
        await Task.WhenAll(results.OfType<Sandbox.Sandbox>().Select(s => s.KillAsync()));
        (await service.CountAsync()).ShouldBe(0);
    }

    private static async Task<(int Most, int Samples)> WatchAsync(ServiceFixture service, CancellationToken done)
    {
        var (most, samples) = (0, 0);
        while (!done.IsCancellationRequested)
        {
            most = Math.Max(most, await service.CountAsync());
            samples++;
            // The sampling interval: there is no signal to wait for, the count is watched from outside.
            await Task.Delay(5, done).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        return (most, samples);
    }
}
