using System.Runtime.InteropServices;
using InterpreterKernel.Kernel.Lifecycle;
using InterpreterKernel.Protocol.Jupyter;

namespace InterpreterKernel.Kernel;

/// <summary>
/// The whole story of one notebook's kernel: messages of Jupyter clients on one side, a real kernel in a sandbox on the other.
/// <code>
///            (1) arrives            (3) waits                    (5) goes in
///   clients ───────────► answered ───────────► parked ──────────────────────► remote kernel
///      ▲        (2) here? │  ▲  (4) told why       ▲ a sandbox is claimed       │
///      │                  │  │                                                  │
///      └──────────────────┴──┴───────────── (6) comes out, as it is ◄───────────┘
///                                  (7) the end: every open request is answered, once
/// </code>
/// The bridge understands only what it must: shutdown, interrupt, kernel_info while starting, and which requests are open.
/// All else passes as the bytes it came in (DESIGN section 1).
/// <para>
/// Everything happens under one lock, on the thread that brings the news: the sockets' own for clients, the reader's for the
/// remote. Nothing under the lock blocks, so no queue and no hop stands between a request and the wire.
/// </para>
/// </summary>
internal sealed class Bridge : IAsyncDisposable
{
    private static readonly TimeSpan s_untilToldWhy = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan s_untilSubscribed = TimeSpan.FromSeconds(1);

    /// <summary>Launchers give 2.5 s between shutdown_request and SIGTERM (jupyter-wire.md section 4.3).</summary>
    private static readonly TimeSpan s_farewell = TimeSpan.FromSeconds(1.5);

    private readonly Lock _gate = new();
    private readonly IClients _clients;
    private readonly RemoteConnector _connect;
    private readonly KernelInfoCache _kernelInfo;
    private readonly Answers _answers;
    private readonly TimeProvider _time;
    private readonly KernelLog _log;

    private readonly InFlight _open = new();
    private readonly List<Parked> _parked = [];
    private readonly List<(JupyterChannel Channel, JupyterMessage Message)> _interrupts = [];
    private readonly TaskCompletionSource<BridgeEnd> _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly CancellationTokenSource _closing = new();

    private WaitingNotice? _waiting;
    private string? _saidBusy;
    private CancellationTokenSource? _claiming;
    private IRemoteKernel? _remote;
    private Task _remoteLife = Task.CompletedTask;

    /// <summary>Makes the bridge. Nothing is claimed until a request needs it.</summary>
    public Bridge(IClients clients, RemoteConnector connect, KernelInfoCache kernelInfo, Answers answers, TimeProvider time, KernelLog log)
    {
        _clients = clients;
        _connect = connect;
        _kernelInfo = kernelInfo;
        _answers = answers;
        _time = time;
        _log = log;
    }

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
                    AnswerWithError_NeedsLock(channel, message, "NotSupported", "The kernel's ports are in its connection file.");
                    return;
                case "kernel_info_request" when _remote is null && _kernelInfo.Content is not null && !IsBehindOthers_NeedsLock(channel):
                    _ = AnswerKernelInfoAsync(channel, message);
                    return;
            }

            if (_remote is not null)
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
        _waiting?.Dispose();
    }

    // (3) All else needs the remote kernel. Until it is there, requests wait in their order; the first one claims a sandbox.

    private void Park_NeedsLock(JupyterChannel channel, JupyterMessage message)
    {
        _parked.Add(new Parked(channel, message));
        if (_claiming is null)
        {
            _claiming = CancellationTokenSource.CreateLinkedTokenSource(_closing.Token);
            var (earlier, claiming) = (_remoteLife, _claiming);

            // On its own: what connecting does before its first wait is not for the sockets' thread.
            _remoteLife = Task.Run(() => LiveAsync(earlier, claiming));
        }

        // (4) A cell that waits for longer than a second is told why.
        if (message.MessageType == "execute_request")
        {
            _waiting ??= new WaitingNotice(message, s_untilToldWhy, _clients, _answers, _time);
        }
    }

    /// <summary>Replies keep their order on a channel, also where we could answer at once.</summary>
    private bool IsBehindOthers_NeedsLock(JupyterChannel channel) =>
        _parked.Exists(p => p.Channel == channel && p.Message.MessageType != "kernel_info_request");

    private void EndWaiting_NeedsLock()
    {
        if (_waiting is not { } waiting)
        {
            return;
        }

        waiting.Over();
        _saidBusy = waiting.HasSpoken ? waiting.Cell.MessageId : null;
        _waiting = null;
    }

    private void OnWaiting(string why)
    {
        lock (_gate)
        {
            _waiting?.Because(why);
        }
    }

    // (5) The remote kernel is there: what waited goes in, in its order; then its messages come out until it ends.

    private async Task LiveAsync(Task earlier, CancellationTokenSource claiming)
    {
        using var ownership = claiming;
        try
        {
            await earlier.ConfigureAwait(false);
            await using var remote = await _connect(OnWaiting, claiming.Token).ConfigureAwait(false);
            lock (_gate)
            {
                Arrived_NeedsLock(remote);
            }

            await PumpAsync(remote, _closing.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (claiming.IsCancellationRequested)
        {
            // Interrupted while waiting, or the end: whoever cancelled has answered what waited.
        }
        catch (RemoteUnavailableException e)
        {
            _log.Warning(e.Message);
            lock (_gate)
            {
                // Together, so that the next request makes the next attempt.
                _claiming = null;
                FailParked_NeedsLock(e.Name, e.Message);
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

    private void Arrived_NeedsLock(IRemoteKernel remote)
    {
        _kernelInfo.Learn(remote.KernelInfo);
        EndWaiting_NeedsLock();
        _remote = remote;
        remote.Notice += OnNotice;
        HashSet<JupyterChannel> busy = [];
        foreach (var (channel, message) in _parked)
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

        _parked.Clear();
    }

    private void Forward_NeedsLock(JupyterChannel channel, JupyterMessage message)
    {
        _open.Add(channel, message);
        _remote!.Send(channel, message);
    }

    // (6) What comes from the remote kernel goes to the clients as it is; finished requests are ticked off.

    private async Task PumpAsync(IRemoteKernel remote, CancellationToken cancellationToken)
    {
        await foreach (var item in remote.ReadAsync(cancellationToken).ConfigureAwait(false))
        {
            lock (_gate)
            {
                switch (item)
                {
                    case RemoteItem.Message(var channel, var message):
                        Pass_NeedsLock(channel, message);
                        break;
                    case RemoteItem.Interrupted:
                        AnswerInterrupts_NeedsLock();
                        break;
                    case RemoteItem.Dropped(var bytes):
                        Tell_NeedsLock($"{bytes:N0} bytes of text output were dropped here: more came than could be kept while the notebook did not take it.");
                        break;
                    case RemoteItem.Ended(var end):
                        RemoteEnded_NeedsLock(end);
                        return;
                }
            }

            await _clients.WaitForRoomAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    private void Pass_NeedsLock(JupyterChannel channel, JupyterMessage message)
    {
        if (_saidBusy is not null && message.MessageType == "status" && message.ParentMessageId == _saidBusy && Answers.IsBusy(message))
        {
            // Said already, before the notice of what the cell waited for.
            _saidBusy = null;
            return;
        }

        if (channel == JupyterChannel.Iopub && message.MessageType == "status" && message.ParentMessageId.Length == 0 && Answers.IsStarting(message))
        {
            // Said once for each process of ours (AnnounceAsync); the kernel's own would fall into the first cell.
            return;
        }

        // Sent first, ticked off after: a failure in between must not leave a request unanswered.
        _clients.Send(channel, message);
        switch (channel)
        {
            case JupyterChannel.Iopub when message.MessageType == "status" && Answers.IsIdle(message):
                _open.Idle(message.ParentMessageId);
                break;
            case JupyterChannel.Shell or JupyterChannel.Control:
                _answers.LearnSession(message);
                _open.Replied(message.ParentMessageId);
                break;
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
            Publish_NeedsLock(_answers.Stream(cell.Message, text + "\n"));
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

        _log.Warning(end.Message);
        Fail_NeedsLock(end.Name, end.Message);
        End(new BridgeEnd(end.KernelDied ? EndReason.KernelDied : EndReason.SandboxLost, end.Message));
    }

    // Interrupts. While a sandbox is awaited there is nothing to stop but the waiting itself.

    private void Interrupt_NeedsLock(JupyterChannel channel, JupyterMessage? request)
    {
        if (request is not null)
        {
            Publish_NeedsLock(_answers.Status(request, "busy"));
            _interrupts.Add((channel, request));
        }

        if (_remote is not null)
        {
            _remote.Interrupt();
            return;
        }

        AnswerInterrupts_NeedsLock();
        Parked[] cells = [.. _parked.Where(p => p.Message.MessageType == "execute_request")];
        if (cells.Length == 0)
        {
            return;
        }

        _parked.RemoveAll(cells.Contains);
        EndWaiting_NeedsLock();
        foreach (var (cellChannel, cell) in cells)
        {
            AnswerWithError_NeedsLock(cellChannel, cell, "KeyboardInterrupt", "Interrupted while waiting for a sandbox; the cell did not run.");
        }

        if (_parked.Count == 0)
        {
            _claiming?.Cancel();
            _claiming = null;
        }
    }

    private void AnswerInterrupts_NeedsLock()
    {
        foreach (var (channel, request) in _interrupts)
        {
            _clients.Send(channel, _answers.Interrupted(request));
            Publish_NeedsLock(_answers.Status(request, "idle"));
        }

        _interrupts.Clear();
    }

    // (7) The end.

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
                Fail_NeedsLock("KernelEnded", end.Message);
            }
        }

        if (remote is not null && end.Reason == EndReason.Restart)
        {
            await remote.HandOverAsync(s_farewell).ConfigureAwait(false);
        }
        else if (remote is not null)
        {
            await remote.ReleaseAsync(s_farewell).ConfigureAwait(false);
        }

        await _closing.CancelAsync().ConfigureAwait(false);
    }

    private void Fail_NeedsLock(string name, string message)
    {
        FailParked_NeedsLock(name, message);
        AnswerInterrupts_NeedsLock();
        foreach (var request in _open.TakeAll())
        {
            if (!request.Replied && _answers.ErrorReply(request.Message, name, message) is { } reply)
            {
                if (request.Message.MessageType == "execute_request")
                {
                    Publish_NeedsLock(_answers.Error(request.Message, name, message));
                }

                _clients.Send(request.Channel, reply);
            }

            if (!request.Idle)
            {
                Publish_NeedsLock(_answers.Status(request.Message, "idle"));
            }
        }
    }

    private void FailParked_NeedsLock(string name, string message)
    {
        EndWaiting_NeedsLock();
        foreach (var (channel, request) in _parked)
        {
            if (request.MessageType == "kernel_info_request")
            {
                // A client that gets no kernel_info shows nothing but a dead kernel. So it gets one, and the first cell tells the reason.
                Answer_NeedsLock(channel, request, _answers.KernelInfo(request, KernelInfoCache.Placeholder(message)));
            }
            else
            {
                AnswerWithError_NeedsLock(channel, request, name, message);
            }
        }

        _parked.Clear();
    }

    // Answers made here have their busy and idle, as the real kernel's have: clients wait for them (jupyter-wire.md section 3.2).

    private void Answer_NeedsLock(JupyterChannel channel, JupyterMessage request, JupyterMessage reply)
    {
        Publish_NeedsLock(_answers.Status(request, "busy"));
        _clients.Send(channel, reply);
        Publish_NeedsLock(_answers.Status(request, "idle"));
    }

    private void AnswerWithError_NeedsLock(JupyterChannel channel, JupyterMessage request, string name, string message)
    {
        if (_saidBusy != request.MessageId)
        {
            Publish_NeedsLock(_answers.Status(request, "busy"));
        }

        if (request.MessageType == "execute_request")
        {
            Publish_NeedsLock(_answers.Error(request, name, message));
        }

        if (_answers.ErrorReply(request, name, message) is { } reply)
        {
            _clients.Send(channel, reply);
        }

        Publish_NeedsLock(_answers.Status(request, "idle"));
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
                Answer_NeedsLock(channel, request, _answers.KernelInfo(request, _kernelInfo.Content!.Value));
            }
        }
    }

    private async Task AnnounceAsync()
    {
        await _clients.FirstSubscriber.ConfigureAwait(false);
        _clients.Send(JupyterChannel.Iopub, _answers.Status(null, "starting"));
    }

    private void Publish_NeedsLock(JupyterMessage message) => _clients.Send(JupyterChannel.Iopub, message);

    private readonly record struct Parked(JupyterChannel Channel, JupyterMessage Message);
}
