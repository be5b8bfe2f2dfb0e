namespace InterpreterKernel.SandboxHost.Sandboxes;

// Pausing: the processes stand still (the cgroup freezer) with all they have in memory, and the slot is free for another.
// Paused sandboxes are kept until they are resumed or killed, or the host stops.
internal sealed partial class SandboxRegistry
{
    /// <summary>How long a sandbox that traffic woke lives on at least, as with E2B.</summary>
    private static readonly TimeSpan s_wokenFor = TimeSpan.FromMinutes(5);

    /// <summary>Whether sandboxes can be paused on this machine.</summary>
    internal bool CanPause => factory.CanPause;

    /// <summary>Pauses a sandbox: its open streams end, then its processes stop. Its slot is free when this returns.</summary>
    /// <exception cref="SandboxHostException">It could not be stopped, and runs on.</exception>
    internal async Task<ChangeResult> PauseAsync(LocalSandbox sandbox)
    {
        if (!_entries.TryGetValue(sandbox.Id, out var entry))
        {
            return ChangeResult.Gone;
        }

        await entry.Changing.WaitAsync();
        try
        {
            if (entry.Removal is not null)
            {
                return ChangeResult.Gone;
            }

            if (sandbox.State == SandboxState.Paused)
            {
                return ChangeResult.Already;
            }

            if (Known.Count(s => s.State == SandboxState.Paused) >= options.PausedLimit)
            {
                return ChangeResult.LimitReached;
            }

            await sandbox.PauseAsync();
            entry.Lease?.Change(Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
            entry.HoldsSlot = false;
            FreeSlot();
            return ChangeResult.Done;
        }
        finally
        {
            entry.Changing.Release();
        }
    }

    /// <summary>Lets a paused sandbox run again, for as long as <paramref name="lifetime"/> says from now on.</summary>
    /// <exception cref="SandboxHostException">It could not be woken, and stays paused.</exception>
    internal async Task<ChangeResult> ResumeAsync(LocalSandbox sandbox, TimeSpan lifetime)
    {
        if (!_entries.TryGetValue(sandbox.Id, out var entry))
        {
            return ChangeResult.Gone;
        }

        await entry.Changing.WaitAsync();
        try
        {
            if (entry.Removal is not null)
            {
                return ChangeResult.Gone;
            }

            if (sandbox.State == SandboxState.Running)
            {
                return ChangeResult.Already;
            }

            if (!TryTakeSlot())
            {
                return ChangeResult.LimitReached;
            }

            try
            {
                await sandbox.ResumeAsync();
            }
            catch
            {
                FreeSlot();
                throw;
            }

            entry.HoldsSlot = true;
            SetEnd(sandbox, sandbox.StartedAt + (lifetime < options.MaxLifetime ? lifetime : options.MaxLifetime));
            return ChangeResult.Done;
        }
        finally
        {
            entry.Changing.Release();
        }
    }

    /// <summary>Wakes a sandbox because somebody sent it a request.</summary>
    internal Task<ChangeResult> WakeAsync(LocalSandbox sandbox) =>
        ResumeAsync(sandbox, sandbox.Request.Lifetime > s_wokenFor ? sandbox.Request.Lifetime : s_wokenFor);

    /// <summary>The time of a sandbox is over: it is paused if that was asked for, else killed.</summary>
    private async Task EndLeaseAsync(Entry entry)
    {
        var sandbox = entry.Sandbox;
        if (sandbox.Request.AutoPause)
        {
            try
            {
                if (await PauseAsync(sandbox) != ChangeResult.LimitReached)
                {
                    return;
                }
            }
            catch (SandboxHostException e)
            {
                logger.PauseFailed(e, sandbox.Id);
            }
        }

        await KillAsync(sandbox, "its time was over");
    }
}
