using System.Runtime.InteropServices;
using InterpreterKernel.Kernel.Configuration;
using InterpreterKernel.Kernel.Lifecycle;
using InterpreterKernel.Kernel.Magics;
using InterpreterKernel.Kernel.Timeouts;
using InterpreterKernel.Kernel.Transfers;
using InterpreterKernel.Protocol.Jupyter;

namespace InterpreterKernel.Kernel;

/// <summary>
/// The whole story of one notebook's kernel: messages of Jupyter clients on one side, a real kernel in a sandbox on the other.
/// <code>
///            (1) arrives            (3) waits                    (4) goes in
///   clients ───────────► answered ───────────► parked ──────────────────────► remote kernel
///      ▲        (2) here? │  ▲  told why           ▲ a sandbox is claimed       │
///      │                  │  │                                                  │ (6) too long: interrupted, restarted,
///      └──────────────────┴──┴───────────── (5) comes out, as it is ◄───────────┘     replaced
///                                  (8) the end: every open request is answered, once
/// </code>
/// The bridge understands only what it must: shutdown, interrupt (7), kernel_info while starting, which requests are open, and which cell
/// runs. All else passes as the bytes it came in (DESIGN section 1).
/// <para>
/// Everything happens under one lock, on the thread that brings the news: the sockets' own for clients, the reader's for the
/// remote. Nothing under the lock blocks, so no queue and no hop stands between a request and the wire.
/// </para>
/// </summary>
internal sealed partial class Bridge : IAsyncDisposable
{
    private static readonly TimeSpan s_untilSubscribed = TimeSpan.FromSeconds(1);

    /// <summary>
    /// jupyter console waits a second, then runs the line and never asks again; and the idle of the answer that comes too late makes it
    /// deaf for the questions of that line.
    /// </summary>
    private static readonly TimeSpan s_untilUnknown = TimeSpan.FromSeconds(0.8);

    /// <summary>Launchers give 2.5 s between shutdown_request and SIGTERM (jupyter-wire.md section 4.3).</summary>
    private static readonly TimeSpan s_farewell = TimeSpan.FromSeconds(1.5);

    private readonly Lock _gate = new();
    private readonly IClients _clients;
    private readonly RemoteConnector _connect;
    private readonly KernelInfoCache _kernelInfo;
    private readonly Answers _answers;
    private readonly LocalAnswers _local;
    private readonly TimeProvider _time;
    private readonly KernelLog _log;

    private readonly OpenRequests _open;
    private readonly ParkedRequests _parked;
    private readonly MagicCells _magics;
    private readonly SandboxMagics _sandboxMagics;
    private readonly ConfiguredFolders _folders;
    private readonly TaskCompletionSource<BridgeEnd> _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly CancellationTokenSource _closing = new();

    private CancellationTokenSource? _claiming;
    private IRemoteKernel? _remote;
    private Renewal? _renewal;
    private Task _remoteLife = Task.CompletedTask;

    /// <summary>Makes the bridge. Nothing is claimed until a request needs it.</summary>
    public Bridge(
        IClients clients, RemoteConnector connect, KernelInfoCache kernelInfo, Answers answers, Settings settings, TimeProvider time, KernelLog log)
    {
        _sandboxMagics = new SandboxMagics(settings, Environment.CurrentDirectory);
        _clients = clients;
        _folders = new ConfiguredFolders(settings, Environment.CurrentDirectory, time, log);
        _connect = _folders.With(connect);
        _kernelInfo = kernelInfo;
        _answers = answers;
        _time = time;
        _log = log;
        _local = new LocalAnswers(clients, answers);
        _parked = new ParkedRequests(clients, answers, _local, time);
        _magics = new MagicCells(_local);
        _open = new OpenRequests(clients, answers, _local, settings, time, OnTimeUp);
    }

    /// <summary>The kernel that takes requests now: none while there is no sandbox, or its kernel process is being replaced.</summary>
    private IRemoteKernel? Kernel => _renewal is null ? _remote : null;

    /// <summary>Serves until the end, then does what that end asks for: release or hand over the sandbox, answer what is open.</summary>
    public async Task<BridgeEnd> RunAsync()
    {
        _ = AnnounceAsync();
        var end = await _ended.Task.ConfigureAwait(false);
        await CloseAsync(end).ConfigureAwait(false);
        return end;
    }

    // (1) A client's message arrives, its signature verified.

    /// <summary>Takes a client's message. Called by the sockets, on their thread.</summary>
    public void OnClientMessage(JupyterChannel channel, JupyterMessage message)
    {
        lock (_gate)
        {
            if (_ended.Task.IsCompleted)
            {
                return;
            }

            // (2) What only we can answer is answered here.
            switch (message.MessageType)
            {
                case "shutdown_request":
                    ShutDown_NeedsLock(channel, message);
                    return;
                case "interrupt_request":
                    Interrupt_NeedsLock(channel, message);
                    return;
                case "connect_request":
                    // The remote would tell ports that nobody can reach (jupyter-wire.md section 3.1).
                    _local.Fail(channel, message, CellError.Plain("NotSupported", "The kernel's ports are in its connection file."));
                    return;
                case "kernel_info_request" when Kernel is null && _kernelInfo.Content is not null && !_parked.HasOthersOn(channel):
                    _ = AnswerKernelInfoAsync(channel, message);
                    return;
            }

            if (channel == JupyterChannel.Stdin && _magics.Running is { IsAsking: true } asking)
            {
                asking.Answered(message);
            }
            else if (Kernel is not null)
            {
                Forward_NeedsLock(channel, message);
            }
            else if (channel != JupyterChannel.Stdin)
            {
                Park_NeedsLock(channel, message);
            }
        }
    }

    /// <summary>An interrupt that came other than as a message: SIGINT, or byte 0x03 on stdin.</summary>
    public void OnInterrupt()
    {
        lock (_gate)
        {
            if (!_ended.Task.IsCompleted)
            {
                Interrupt_NeedsLock(default, null);
            }
        }
    }

    /// <summary>The end was asked for from outside. The first reason is the reason.</summary>
    public void End(BridgeEnd end) => _ended.TrySetResult(end);

    /// <summary>The end by a signal.</summary>
    public void OnTerminate(PosixSignal signal) => End(new BridgeEnd(EndReason.Terminated, $"{signal} was received; the sandbox was given up."));

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        End(new BridgeEnd(EndReason.Terminated, "The kernel was closed."));
        await _closing.CancelAsync().ConfigureAwait(false);
        await _remoteLife.ConfigureAwait(false);
        _closing.Dispose();
        _parked.Dispose();
        lock (_gate)
        {
            _open.Dispose();
        }
    }

    // (3) All else needs the remote kernel. Until it is there, requests wait in their order; the first one claims a sandbox.

    private void Park_NeedsLock(JupyterChannel channel, JupyterMessage message)
    {
        _parked.Add(channel, message, isNext: _renewal is null && _magics.Running is null);
        if (message.MessageType == "is_complete_request")
        {
            _ = AnswerCompletenessAsync(channel, message);
        }

        if (_renewal is not null)
        {
            _parked.Because("Starting the kernel again");
            return;
        }

        Claim_NeedsLock();
    }

    private async Task AnswerCompletenessAsync(JupyterChannel channel, JupyterMessage request)
    {
        await Task.Delay(s_untilUnknown, _time, _closing.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        lock (_gate)
        {
            if (!_ended.Task.IsCompleted && _parked.TakeFirst(channel, request))
            {
                _local.Reply(channel, request, _answers.CompletenessUnknown(request));
            }
        }
    }

    private void Claim_NeedsLock()
    {
        if (_claiming is null)
        {
            _claiming = CancellationTokenSource.CreateLinkedTokenSource(_closing.Token);
            var (earlier, claiming) = (_remoteLife, _claiming);

            // On its own: what connecting does before its first wait is not for the sockets' thread.
            _remoteLife = Task.Run(() => LiveAsync(earlier, claiming));
        }
    }

    private void OnWaiting(string why)
    {
        lock (_gate)
        {
            _parked.Because(why);
        }
    }

    // (4) The remote kernel is there: what waited goes in, in its order; then its messages come out until it ends.

    private async Task LiveAsync(Task earlier, CancellationTokenSource claiming)
    {
        using var ownership = claiming;
        try
        {
            await earlier.ConfigureAwait(false);
            await using var remote = await _connect(OnWaiting, claiming.Token).ConfigureAwait(false);
            lock (_gate)
            {
                remote.Notice += OnNotice;
                _remote = remote;
                _answers.Follow(remote.Session);
                Arrived_NeedsLock(remote.KernelInfo);
            }

            await PumpAsync(remote, claiming.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (claiming.IsCancellationRequested)
        {
            // Interrupted while waiting, replaced, or the end: whoever cancelled has answered what waited.
        }
        catch (RemoteUnavailableException e)
        {
            _log.Warning($"{e.Name}: {e.Message}");
            lock (_gate)
            {
                // Together, so that the next request makes the next attempt.
                _claiming = null;
                _arrival?.TrySetException(e);
                _parked.FailAll(CellError.Plain(e.Name, e.Message));
            }
        }
        catch (Exception e)
        {
            _log.Warning(e.ToString());
            End(new BridgeEnd(EndReason.InternalError, "The kernel failed: " + e.Message));
        }
        finally
        {
            lock (_gate)
            {
                if (_claiming == claiming)
                {
                    _claiming = null;
                }
            }
        }
    }

    private void Arrived_NeedsLock(ReadOnlyMemory<byte> kernelInfo)
    {
        _kernelInfo.Learn(kernelInfo);
        _arrival?.TrySetResult();
        HashSet<JupyterChannel> busy = [];
        foreach (var (channel, message) in _parked.TakeAll())
        {
            // Clients ask again every half second while they wait; each gets its answer, the remote need not see them.
            if (message.MessageType == "kernel_info_request" && _kernelInfo.Content is not null && !busy.Contains(channel))
            {
                _ = AnswerKernelInfoAsync(channel, message);
            }
            else
            {
                busy.Add(channel);
                Forward_NeedsLock(channel, message);
            }
        }
    }

    private void Forward_NeedsLock(JupyterChannel channel, JupyterMessage message)
    {
        // What has lines of ours, and what is behind it, waits its turn (Bridge.Magics.cs).
        if (channel != JupyterChannel.Shell || !Held_NeedsLock(channel, message))
        {
            Enter_NeedsLock(channel, message);
        }
    }

    private void Enter_NeedsLock(JupyterChannel channel, JupyterMessage message)
    {
        if (_open.Enter(channel, message, _kernelInfo.Language) is { } toKernel)
        {
            _remote!.Send(channel, toKernel);
        }
    }

    // (5) What comes from the remote kernel goes to the clients as it is; finished requests are ticked off.

    private async Task PumpAsync(IRemoteKernel remote, CancellationToken cancellationToken)
    {
        await foreach (var item in remote.ReadAsync(cancellationToken).ConfigureAwait(false))
        {
            lock (_gate)
            {
                if (_remote != remote)
                {
                    // Given up for another; its end, if that is what comes, is no news.
                    return;
                }

                switch (item)
                {
                    case RemoteItem.Message(var channel, var message):
                        Pass_NeedsLock(channel, message);
                        if (_open.IsEmpty)
                        {
                            remote.Rest();
                        }

                        break;
                    case RemoteItem.Interrupted(null, _):
                        _open.AnswerInterrupts();
                        break;
                    case RemoteItem.Interrupted({ } cell, var delivered):
                        _open.InterruptTaken(cell, delivered);
                        break;
                    case RemoteItem.Killed:
                        _open.KernelKilled();
                        break;
                    case RemoteItem.Restarted(var kernelInfo) when _renewal is { Rung: Rung.RestartKernel }:
                        Renewed_NeedsLock();
                        Arrived_NeedsLock(kernelInfo);
                        break;
                    case RemoteItem.RestartFailed(var why) when _renewal is { Rung: Rung.RestartKernel }:
                        _log.Warning("The kernel process could not be started again: " + why);
                        Stop_NeedsLock(null, _open.GiveUpRestart());
                        break;
                    case RemoteItem.Dropped(var bytes):
                        Tell_NeedsLock($"{bytes:N0} bytes of text output were dropped here: more came than could be kept while the notebook did not take it.");
                        break;
                    case RemoteItem.Ended(var end) when _renewal is not { Rung: Rung.ReplaceSandbox }:
                        RemoteEnded_NeedsLock(end);
                        return;
                }

                if (_magics.IsHolding)
                {
                    Advance_NeedsLock();
                }
            }

            await _clients.WaitForRoomAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    private void Pass_NeedsLock(JupyterChannel channel, JupyterMessage message)
    {
        if (_local.IsSaid(message))
        {
            _open.Passed(channel, message);
            return;
        }

        if (channel == JupyterChannel.Iopub && message.MessageType == "status" && message.ParentMessageId.Length == 0 && Answers.IsStarting(message))
        {
            // Said once for each process of ours (AnnounceAsync); the kernel's own would fall into the first cell.
            return;
        }

        if (!_open.Admit(channel, ref message))
        {
            return;
        }

        // Sent first, ticked off after: a failure in between must not leave a request unanswered.
        _clients.Send(channel, message);
        if (channel is JupyterChannel.Shell or JupyterChannel.Control)
        {
            _answers.LearnSession(message);
        }

        var stops = _magics.IsHolding && StopsOthers(channel, message);
        _open.Passed(channel, message);
        if (stops)
        {
            _magics.AbortCells();
        }
    }

    private void OnNotice(string text)
    {
        lock (_gate)
        {
            Tell_NeedsLock(text);
        }
    }

    private void Tell_NeedsLock(string text)
    {
        if (_open.Executing is { } cell)
        {
            Publish_NeedsLock(_answers.Stream(cell, text + "\n"));
        }
        else
        {
            _log.Warning(text);
        }
    }

    private void RemoteEnded_NeedsLock(EndOfRemote end)
    {
        if (_ended.Task.IsCompleted)
        {
            // We gave it up ourselves; that it is gone is what was wanted.
            return;
        }

        _log.Warning($"{end.Name}: {end.Message}");
        Fail_NeedsLock(CellError.Plain(end.Name, end.Message));
        End(new BridgeEnd(end.KernelDied ? EndReason.KernelDied : EndReason.SandboxLost, end.Message));
    }

    // (6) is in Bridge.Timeouts.cs.

    // (7) Interrupts. While a sandbox is awaited there is nothing to stop but the waiting itself.

    private void Interrupt_NeedsLock(JupyterChannel channel, JupyterMessage? request)
    {
        if (request is not null)
        {
            _open.EnterInterrupt(channel, request);
        }

        if (InterruptMagics_NeedsLock())
        {
            return;
        }

        if (Kernel is { } kernel)
        {
            kernel.Interrupt();
            return;
        }

        _open.AnswerInterrupts();
        foreach (var (cellChannel, cell) in _parked.TakeCells())
        {
            _local.Fail(cellChannel, cell, CellError.Plain("KeyboardInterrupt", "Interrupted while waiting for a sandbox; the cell did not run."));
        }

        if (_parked.Count == 0 && _remote is null)
        {
            _claiming?.Cancel();
            _claiming = null;
        }
    }

    // (8) The end.

    private void ShutDown_NeedsLock(JupyterChannel channel, JupyterMessage request)
    {
        var restart = Answers.WantsRestart(request);
        Publish_NeedsLock(_answers.Status(request, "busy"));
        _clients.Send(channel, _answers.ShutDown(request, restart));
        Publish_NeedsLock(_answers.ShutDown(request, restart).WithIdentities([]));
        Publish_NeedsLock(_answers.Status(request, "idle"));
        End(restart
            ? new BridgeEnd(EndReason.Restart, "A restart was asked for; the sandbox is kept for the next process.")
            : new BridgeEnd(EndReason.Shutdown, "A shutdown was asked for."));
    }

    private async Task CloseAsync(BridgeEnd end)
    {
        IRemoteKernel? remote;
        lock (_gate)
        {
            remote = _remote;
            if (end.Reason is not (EndReason.Shutdown or EndReason.Restart))
            {
                Fail_NeedsLock(CellError.Plain("KernelEnded", end.Message));
            }
        }

        if (remote is not null && end.Reason == EndReason.Restart)
        {
            await remote.HandOverAsync(s_farewell).ConfigureAwait(false);
        }
        else if (remote is not null)
        {
            if (end.Reason is EndReason.Shutdown or EndReason.Terminated)
            {
                await _folders.BringOutAsync(remote.Box).ConfigureAwait(false);
            }

            await remote.ReleaseAsync(s_farewell).ConfigureAwait(false);
        }

        await _closing.CancelAsync().ConfigureAwait(false);
    }

    private void Fail_NeedsLock(CellError error)
    {
        _parked.FailAll(error);
        _open.FailAll(error);
        _magics.FailAll(error);
    }

    private async Task AnswerKernelInfoAsync(JupyterChannel channel, JupyterMessage request)
    {
        // The request can overtake the subscription; its busy and idle would then be heard by nobody and the client ask again.
        if (!_clients.FirstSubscriber.IsCompleted)
        {
            await Task.WhenAny(_clients.FirstSubscriber, Task.Delay(s_untilSubscribed, _time)).ConfigureAwait(false);
        }

        lock (_gate)
        {
            if (!_ended.Task.IsCompleted)
            {
                _local.Reply(channel, request, _answers.KernelInfo(request, _kernelInfo.Content!.Value));
            }
        }
    }

    private async Task AnnounceAsync()
    {
        await _clients.FirstSubscriber.ConfigureAwait(false);
        _clients.Send(JupyterChannel.Iopub, _answers.Status(null, "starting"));
    }

    private void Publish_NeedsLock(JupyterMessage message) => _clients.Send(JupyterChannel.Iopub, message);
}
