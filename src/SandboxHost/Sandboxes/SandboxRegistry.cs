using System.Collections.Concurrent;
using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;
using System.Security.Cryptography;
using InterpreterKernel.SandboxHost.Isolation;
using Microsoft.Extensions.Logging;

namespace InterpreterKernel.SandboxHost.Sandboxes;

/// <summary>
/// All sandboxes of the host: who may have one (the limit), how long (the lease), and that one is really gone before its
/// slot counts as free. Sandboxes being made, paused, resumed and killed hold their slot; paused ones hold none.
/// </summary>
internal sealed partial class SandboxRegistry(SandboxHostOptions options, SandboxFactory factory, ILogger logger) : IAsyncDisposable
{
    private const string IdCharacters = "abcdefghijklmnopqrstuvwxyz0123456789";

    private readonly ConcurrentDictionary<string, Entry> _entries = new();
    private readonly CancellationTokenSource _stopping = new();
    private readonly TaskCompletionSource _drained = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock _gate = new();
    private int _slots;

    internal TimeProvider Time => options.TimeProvider;

    /// <summary>Whether a text can be the id of a sandbox.</summary>
    internal static bool IsId(string text) => text.Length is > 0 and <= 64 && text.All(c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c));

    /// <summary>Those that run: neither still being made nor being killed.</summary>
    internal IEnumerable<LocalSandbox> Running => Known.Where(s => s.State == SandboxState.Running);

    /// <summary>Those that run or are paused.</summary>
    internal IEnumerable<LocalSandbox> Known => _entries.Values.Where(e => e.Removal is null).Select(e => e.Sandbox);

    /// <summary>The running sandbox of that id.</summary>
    internal LocalSandbox? Find(string id) => FindKnown(id) is { State: SandboxState.Running } sandbox ? sandbox : null;

    /// <summary>The sandbox of that id, whether it runs or is paused.</summary>
    internal LocalSandbox? FindKnown(string id) => _entries.TryGetValue(id, out var entry) && entry.Removal is null ? entry.Sandbox : null;

    /// <summary>Makes one; null when the limit is reached.</summary>
    /// <exception cref="OperationCanceledException">The caller left or the host stops; nothing of the sandbox remains.</exception>
    internal async Task<LocalSandbox?> CreateAsync(SandboxRequest request, CancellationToken cancellation)
    {
        if (!TryTakeSlot())
        {
            return null;
        }

        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellation, _stopping.Token);
        Entry entry;
        try
        {
            var id = "i" + RandomNumberGenerator.GetString(IdCharacters, 20);
            var token = Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(32));
            var template = await factory.TemplateAsync(request.Python);
            var container = await factory.CreateAsync(id, request.Python, request.Resources, either.Token);
            entry = new Entry(new LocalSandbox(id, token, request, container, template, factory.Poller, Time)
            {
                TrafficToken = request.PublicTraffic ? null : Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(32)),
            });
        }
        catch
        {
            FreeSlot();
            throw;
        }

        // From here on the slot is the sandbox's own, and killing it frees the slot.
        var sandbox = entry.Sandbox;
        _entries[sandbox.Id] = entry;
        entry.Lease = Time.CreateTimer(_ => _ = EndLeaseAsync(entry), null, request.Lifetime, Timeout.InfiniteTimeSpan);
        _ = WatchAsync(sandbox);
        if (either.IsCancellationRequested)
        {
            // Nobody will ever learn its id.
            await KillAsync(sandbox, "its creator left");
            either.Token.ThrowIfCancellationRequested();
        }

        return sandbox;
    }

    /// <summary>Moves the end of a sandbox; a moment that has passed kills it.</summary>
    internal void SetEnd(LocalSandbox sandbox, DateTimeOffset end)
    {
        if (sandbox.State == SandboxState.Running && _entries.TryGetValue(sandbox.Id, out var entry))
        {
            sandbox.EndAt = end;
            var left = end - Time.GetUtcNow();
            entry.Lease?.Change(left > TimeSpan.Zero ? left : TimeSpan.Zero, Timeout.InfiniteTimeSpan);
        }
    }

    /// <summary>Kills a sandbox; whoever calls again meanwhile waits for the same end. The slot is free when this returns.</summary>
    internal Task KillAsync(LocalSandbox sandbox, string reason)
    {
        if (!_entries.TryGetValue(sandbox.Id, out var entry))
        {
            return Task.CompletedTask;
        }

        lock (_gate)
        {
            return entry.Removal ??= Task.Run(() => RemoveAsync(entry, reason));
        }
    }

    /// <summary>The killing of the sandbox of that id, when it is under way.</summary>
    internal Task? RemovalOf(string id) => _entries.TryGetValue(id, out var entry) ? entry.Removal : null;

    /// <summary>Takes no more requests, kills all sandboxes, and returns when nothing of them is left.</summary>
    public async ValueTask DisposeAsync()
    {
        await _stopping.CancelAsync();
        await Task.WhenAll(_entries.Values.Select(e => KillAsync(e.Sandbox, "the host stops")));
        lock (_gate)
        {
            if (_slots == 0)
            {
                _drained.TrySetResult();
            }
        }

        // Those that were still being made.
        await _drained.Task;
        _stopping.Dispose();
    }

    private async Task RemoveAsync(Entry entry, string reason)
    {
        var clock = Stopwatch.StartNew();

        // A pause or resume under way is let finish first; none begins any more.
        await entry.Changing.WaitAsync();
        try
        {
            if (entry.Lease is { } lease)
            {
                await lease.DisposeAsync();
            }

            await entry.Sandbox.RemoveAsync();
            logger.SandboxGone(entry.Sandbox.Id, reason, (int)clock.ElapsedMilliseconds);
        }
        catch (Exception e)
        {
            logger.RemovalFailed(e, entry.Sandbox.Id);
        }
        finally
        {
            _entries.TryRemove(entry.Sandbox.Id, out _);
            if (entry.HoldsSlot)
            {
                FreeSlot();
            }

            entry.Changing.Release();
        }
    }

    private async Task WatchAsync(LocalSandbox sandbox)
    {
        await sandbox.Container.Agent.Completion;
        if (FindKnown(sandbox.Id) is not null)
        {
            logger.AgentLost(sandbox.Id);
            await KillAsync(sandbox, "its first process ended");
        }
    }

    private bool TryTakeSlot()
    {
        lock (_gate)
        {
            if (_stopping.IsCancellationRequested || _slots >= options.Limit)
            {
                return false;
            }

            _slots++;
            return true;
        }
    }

    private void FreeSlot()
    {
        lock (_gate)
        {
            _slots--;
            if (_slots == 0 && _stopping.IsCancellationRequested)
            {
                _drained.TrySetResult();
            }
        }
    }

    [SuppressMessage("Design", "CA1001", Justification = "The semaphore never makes a wait handle, and who waits for it may come last.")]
    private sealed class Entry(LocalSandbox sandbox)
    {
        internal LocalSandbox Sandbox => sandbox;

        /// <summary>Held by whoever pauses, resumes or removes it.</summary>
        internal SemaphoreSlim Changing { get; } = new(1, 1);

        /// <summary>Whether it counts towards the limit. Changed only by who holds <see cref="Changing"/>.</summary>
        internal bool HoldsSlot { get; set; } = true;

        internal ITimer? Lease { get; set; }

        internal Task? Removal { get; set; }
    }
}
