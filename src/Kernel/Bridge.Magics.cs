using InterpreterKernel.Broker;
using InterpreterKernel.Kernel.Magics;
using InterpreterKernel.Kernel.Timeouts;
using InterpreterKernel.Kernel.Transfers;
using InterpreterKernel.Protocol.Jupyter;
using InterpreterKernel.Sandbox;

namespace InterpreterKernel.Kernel;

/// <summary>
/// Between (3) and (4): the <c>%sandbox</c> lines at the top of a cell are run here, before the kernel sees the cell. It waits for its turn, and
/// what comes behind it on the shell waits for it.
/// </summary>
internal sealed partial class Bridge : IMagicPlace
{
    private TaskCompletionSource? _arrival;

    /// <inheritdoc/>
    Sandbox.Sandbox IMagicPlace.Sandbox => _remote?.Box ?? throw new MagicException("SandboxMagicError", "There is no sandbox at this moment.");

    /// <inheritdoc/>
    TimeSpan? IMagicPlace.CellTimeout
    {
        get
        {
            lock (_gate)
            {
                return _open.Default?.Time;
            }
        }

        set
        {
            lock (_gate)
            {
                _open.Default = value is { } time ? new Limit(time, "%sandbox timeout") : null;
            }
        }
    }

    /// <inheritdoc/>
    async Task IMagicPlace.ReplaceSandboxAsync(CancellationToken cancellationToken)
    {
        IRemoteKernel remote;
        lock (_gate)
        {
            cancellationToken.ThrowIfCancellationRequested();
            remote = Kernel ?? throw new MagicException("SandboxMagicError", "There is no sandbox at this moment.");
            _renewal = new Renewal(Rung.ReplaceSandbox, Guid.NewGuid().ToString());
        }

        await remote.ReleaseAsync(s_farewell).ConfigureAwait(false);
        CancellationTokenSource? life;
        Task arrival;
        lock (_gate)
        {
            if (_ended.Task.IsCompleted)
            {
                return;
            }

            life = _claiming;
            (_claiming, _remote) = (null, null);
            _open.FailAll(CellError.Plain("KernelRestarted", "The sandbox was replaced (%sandbox restart --fresh); its variables and files are gone."));
            _answers.Follow(_renewal!.Session);
            _renewal = null;
            _arrival = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            arrival = _arrival.Task;
            Claim_NeedsLock();
        }

        if (life is not null)
        {
            await life.CancelAsync().ConfigureAwait(false);
        }

        await arrival.WaitAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Whether a request of the shell has to wait, for magics or as one that has them.</summary>
    private bool Held_NeedsLock(JupyterChannel channel, JupyterMessage message)
    {
        if (!_magics.IsHolding && (message.MessageType != "execute_request" || MagicHeader.Find(message) is null))
        {
            return false;
        }

        _magics.Hold(channel, message);
        Advance_NeedsLock();
        return true;
    }

    /// <summary>Whose turn it is: requests go on until one has magics, and that one begins when no cell is before it.</summary>
    private void Advance_NeedsLock()
    {
        while (_magics.Running is null && Kernel is not null && _magics.TryPeek(out var next))
        {
            var header = next.Message.MessageType == "execute_request" ? MagicHeader.Find(next.Message) : null;
            if (header is not null && _open.HasCells)
            {
                return;
            }

            _magics.Take();
            if (header is null)
            {
                Enter_NeedsLock(next.Channel, next.Message);
                continue;
            }

            var cell = new MagicCell(next.Channel, next.Message, header, Say, _time);
            _magics.Begin(cell);
            _ = Task.Run(() => RunMagicsAsync(cell));
        }
    }

    private async Task RunMagicsAsync(MagicCell cell)
    {
        using var ownership = cell;
        CellError? error = null;
        try
        {
            await _sandboxMagics.RunAsync(cell, this).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (cell.Stopped.IsCancellationRequested)
        {
            error = CellError.Plain("KeyboardInterrupt", "Interrupted in a %sandbox line; the cell did not run.");
        }
        catch (Exception e)
        {
            _log.Debug(e.ToString());
            error = CellError.Plain(NameOf(e), e.Message);
        }

        lock (_gate)
        {
            if (!_magics.End(cell) || _ended.Task.IsCompleted)
            {
                return;
            }

            if (error is not null)
            {
                _local.FailBegun(cell.Channel, cell.Request, error, _open.LastExecutionCount);
                if (cell.StopsOnError)
                {
                    _magics.AbortCells();
                    _parked.AbortCells();
                }
            }
            else
            {
                // The same request without our lines. It was said to be busy; the kernel's own word would be a second one.
                _local.BusyWasSaid(cell.Request.MessageId);
                Continue_NeedsLock(cell.Channel, cell.Header.Blank(cell.Request, _kernelInfo.Language));
            }

            if (Kernel is null && _magics.TakeHeld() is { Count: > 0 } held)
            {
                // No new sandbox could be had, or nobody waits for it any more: they wait with the others.
                _parked.AddBefore(held);
                Claim_NeedsLock();
            }

            Advance_NeedsLock();
        }
    }

    private void Continue_NeedsLock(JupyterChannel channel, JupyterMessage cell)
    {
        if (Kernel is not null)
        {
            Enter_NeedsLock(channel, cell);
            return;
        }

        _parked.AddBefore([(channel, cell), .. _magics.TakeHeld()]);
        Claim_NeedsLock();
    }

    /// <summary>Whether a reply that passes means that cells behind it do not run.</summary>
    private bool StopsOthers(JupyterChannel channel, JupyterMessage message) =>
        channel == JupyterChannel.Shell && message.MessageType == "execute_reply" && !Answers.IsOk(message)
        && (Answers.Text(message, "status"u8) == "aborted" || _open.StopsOnError(message.ParentMessageId));

    /// <summary>An interrupt stops the magics that run. False when none do.</summary>
    private bool InterruptMagics_NeedsLock()
    {
        if (_magics.Running is not { } cell)
        {
            return false;
        }

        _open.AnswerInterrupts();
        _ = Task.Run(cell.Stop);
        return true;
    }

    private void Say(MagicCell cell, JupyterChannel channel, Func<Answers, JupyterMessage> make)
    {
        lock (_gate)
        {
            if (_magics.Running == cell && !_ended.Task.IsCompleted)
            {
                _clients.Send(channel, make(_answers));
            }
        }
    }

    private static string NameOf(Exception fault) => fault switch
    {
        MagicException e => e.Name,
        TransferException e => e.Name,
        RemoteUnavailableException e => e.Name,
        SandboxException e => Remote.RemoteEnds.NameOf(e),
        BrokerException => "BrokerUnavailable",
        _ => "SandboxMagicFailed",
    };
}
