using InterpreterKernel.Kernel.Timeouts;

namespace InterpreterKernel.Kernel;

/// <summary>Step (6): a cell that has run too long, from the interrupt to the new sandbox.</summary>
internal sealed partial class Bridge
{
    // The ladder says what is done next; whatever the kernel then says of the cell's end, it is told as a timeout (OpenRequests).

    private void OnTimeUp(string cell)
    {
        lock (_gate)
        {
            if (!_ended.Task.IsCompleted && _remote is not null)
            {
                Stop_NeedsLock(cell, _open.Climb(cell, _remote.IsReachable));
                Advance_NeedsLock();
            }
        }
    }

    private void Stop_NeedsLock(string? cell, Rung rung)
    {
        switch (rung)
        {
            case Rung.Interrupt or Rung.SecondInterrupt:
                _remote!.Interrupt(cell);
                break;
            case Rung.RestartKernel:
                _log.Warning("A cell did not stop when interrupted; the kernel process is killed and started again.");
                _renewal = new Renewal(rung, Guid.NewGuid().ToString());
                _remote!.Restart(_renewal.Session);
                break;
            case Rung.ReplaceSandbox:
                _log.Warning("A cell could not be stopped; its sandbox is killed.");
                _renewal = new Renewal(rung, Guid.NewGuid().ToString());
                _ = ReplaceSandboxAsync(_remote!);
                break;
        }
    }

    private async Task ReplaceSandboxAsync(IRemoteKernel remote)
    {
        await remote.ReleaseAsync(s_farewell).ConfigureAwait(false);
        CancellationTokenSource? life;
        lock (_gate)
        {
            if (_ended.Task.IsCompleted)
            {
                return;
            }

            life = _claiming;
            (_claiming, _remote) = (null, null);
            Renewed_NeedsLock();
            if (_parked.Count > 0)
            {
                Claim_NeedsLock();
            }
        }

        if (life is not null)
        {
            await life.CancelAsync().ConfigureAwait(false);
        }
    }

    /// <summary>The kernel that had the open requests is gone. What comes behind the cell that could not be stopped fails with it, unless the user wants otherwise.</summary>
    private void Renewed_NeedsLock()
    {
        if (_magics.TakeHeld() is { Count: > 0 } held)
        {
            _parked.AddBefore(held);
        }

        _open.EndWithKernel(_parked);
        _answers.Follow(_renewal!.Session);
        _renewal = null;
    }

    /// <summary>Why the remote kernel takes no requests although there is one: a cell could not be stopped.</summary>
    /// <param name="Rung">What is replaced: the kernel process, or the whole sandbox.</param>
    /// <param name="Session">The session id of the next kernel process.</param>
    private sealed record Renewal(Rung Rung, string Session);
}
