using InterpreterKernel.Kernel.Configuration;
using InterpreterKernel.Kernel.Timeouts;
using InterpreterKernel.Protocol.Jupyter;

namespace InterpreterKernel.Kernel;

/// <summary>
/// The requests that the remote kernel has: noted when they go in, ticked off as its answers pass, and ended here, each once, when it can't
/// end them any more. The cells among them have their clocks; what the kernel says of the end of one that ran too long is told as a
/// timeout. Not thread-safe: the bridge's lock guards it.
/// </summary>
internal sealed class OpenRequests(
    IClients clients, Answers answers, LocalAnswers local, Settings settings, TimeProvider time, Action<string> timeUp) : IDisposable
{
    private readonly InFlight _open = new();
    private readonly TimeoutLadder _ladder = new(settings, time, timeUp);
    private readonly List<(JupyterChannel Channel, JupyterMessage Message)> _interrupts = [];
    private string? _condemned;

    /// <summary>Whether every request has had its answer.</summary>
    public bool IsEmpty => _open.Count == 0;

    /// <summary>The cell that runs.</summary>
    public JupyterMessage? Executing => _open.Executing?.Message;

    /// <summary>Whether any cell is not finished.</summary>
    public bool HasCells => _open.HasCells;

    /// <summary>The number of the cell that began last.</summary>
    public int LastExecutionCount { get; private set; }

    /// <summary>How long a cell may run that says nothing of it; null without limit.</summary>
    public Limit? Default
    {
        get => _ladder.Default;
        set => _ladder.Default = value;
    }

    /// <summary>Whether cells behind this one do not run when it fails.</summary>
    public bool StopsOnError(string cell) => _open.Find(cell) is not { } request || Answers.Flag(request.Message, "stop_on_error"u8, otherwise: true);

    // In: a request goes to the kernel.

    /// <summary>Notes a request, and answers it the way the kernel is to see it; null when it was answered here.</summary>
    public JupyterMessage? Enter(JupyterChannel channel, JupyterMessage message, string? language)
    {
        if (message.MessageType != "execute_request")
        {
            _open.Add(channel, message);
            return message;
        }

        if (_open.Executing is null && _ladder.Spent is { } spent)
        {
            local.Fail(channel, message, spent);
            return null;
        }

        _open.Add(channel, message);
        message = _ladder.Enter(message, language);
        Advance();
        return message;
    }

    /// <summary>Notes an interrupt_request, to be answered when the kernel has taken the interrupt.</summary>
    public void EnterInterrupt(JupyterChannel channel, JupyterMessage request)
    {
        clients.Send(JupyterChannel.Iopub, answers.Status(request, "busy"));
        _interrupts.Add((channel, request));
    }

    // Out: an answer of the kernel passes.

    /// <summary>Looks at a message before it passes, and rewrites what tells of a timeout. False takes it away: its place is taken by one of ours.</summary>
    public bool Admit(JupyterChannel channel, ref JupyterMessage message)
    {
        if (!_ladder.IsClimbing)
        {
            return true;
        }

        var isError = message.MessageType == "error";
        var isReply = message.MessageType == "execute_reply" && channel == JupyterChannel.Shell;
        var isIdle = message.MessageType == "status" && Answers.IsIdle(message);
        if ((!isError && !isReply && !isIdle) || _open.Find(message.ParentMessageId) is not { } cell)
        {
            return true;
        }

        var id = cell.Message.MessageId;
        if (id == _condemned)
        {
            return false;
        }

        if (isIdle && !cell.ErrorShown && !cell.Replied && _ladder.IsStopped(id))
        {
            // Our error has to go before it, and only the reply says how the cell ended.
            cell.HeldIdle = message;
            return false;
        }

        if (isIdle || _ladder.VerdictOn(id, caught: isReply && Answers.IsOk(message)) is not { } verdict)
        {
            return true;
        }

        if (isReply && !cell.ErrorShown)
        {
            clients.Send(JupyterChannel.Iopub, answers.Error(cell.Message, verdict));
            if (cell.HeldIdle is { } idle)
            {
                clients.Send(JupyterChannel.Iopub, idle);
                _open.Idle(id);
            }
        }

        cell.ErrorShown = true;
        message = message.WithContent(CellTimeout.Rewrite(message.Content, verdict, isReply));
        return true;
    }

    /// <summary>Ticks off what has passed.</summary>
    public void Passed(JupyterChannel channel, JupyterMessage message)
    {
        switch (channel)
        {
            case JupyterChannel.Iopub when message.MessageType == "execute_input":
                Begun(message);
                break;
            case JupyterChannel.Iopub when message.MessageType == "status":
                if (Answers.IsIdle(message))
                {
                    _open.Idle(message.ParentMessageId);
                    Finished(message.ParentMessageId);
                }
                else
                {
                    Begun(message);
                }

                break;
            case JupyterChannel.Shell or JupyterChannel.Control:
                _open.Replied(message.ParentMessageId);
                Finished(message.ParentMessageId);
                break;
        }
    }

    /// <summary>The kernel took the interrupts that are open.</summary>
    public void AnswerInterrupts()
    {
        foreach (var (channel, request) in _interrupts)
        {
            clients.Send(channel, answers.Interrupted(request));
            clients.Send(JupyterChannel.Iopub, answers.Status(request, "idle"));
        }

        _interrupts.Clear();
    }

    // Too long.

    /// <summary>The time of a cell is up: what is to be done to it now.</summary>
    public Rung Climb(string cell, bool reachable)
    {
        var rung = _ladder.Climb(cell, reachable);
        if (rung is Rung.SecondInterrupt or Rung.RestartKernel && _open.Find(cell) is { HasEnded: true } finished && _ladder.VerdictOn(cell) is { } verdict)
        {
            // It has ended, and its reply with it: ipykernel loses one that is interrupted just before it runs.
            _open.Take(finished);
            local.Fail(finished, verdict);
            Finished(cell);
            return Rung.None;
        }

        if (rung is Rung.RestartKernel or Rung.ReplaceSandbox)
        {
            _condemned = cell;
        }

        return rung;
    }

    /// <summary>The relay has taken an interrupt that was meant for this cell.</summary>
    public void InterruptTaken(string cell, bool delivered) => _ladder.InterruptTaken(cell, delivered);

    /// <summary>The kernel process that had the condemned cell is gone.</summary>
    public void KernelKilled()
    {
        if (_condemned is not null)
        {
            _ladder.KernelKilled(_condemned);
        }
    }

    /// <summary>The kernel could not be started again: the last rung.</summary>
    public Rung GiveUpRestart() => _ladder.GiveUpRestart(_condemned!);

    /// <summary>
    /// The kernel was replaced because of the condemned cell, which is told so. Those behind it, also the ones in <paramref name="parked"/>, do
    /// not run on lost variables, unless the user wants that: then all of them wait there.
    /// </summary>
    public void EndWithKernel(ParkedRequests parked)
    {
        var verdict = _ladder.VerdictOn(_condemned!)!;
        var lost = CellError.Plain("KernelRestarted", "The kernel process was replaced because a cell could not be stopped; its variables are lost.");
        List<(JupyterChannel Channel, JupyterMessage Cell)> behind = [];
        var open = _open.TakeAll();
        _ladder.Clear();
        AnswerInterrupts();
        foreach (var request in open)
        {
            if (request.Message.MessageId == _condemned)
            {
                local.Fail(request, verdict);
            }
            else if (request.Message.MessageType != "execute_request")
            {
                local.Fail(request, lost);
            }
            else if (settings.ContinueAfterTimeout)
            {
                behind.Add((request.Channel, request.Message));
            }
            else
            {
                local.Abort(request);
            }
        }

        _condemned = null;
        if (settings.ContinueAfterTimeout)
        {
            parked.AddBefore(behind);
        }
        else
        {
            parked.AbortCells();
        }
    }

    // The end.

    /// <summary>The kernel is gone: everything is answered with the reason.</summary>
    public void FailAll(CellError error)
    {
        AnswerInterrupts();
        _ladder.Clear();
        foreach (var request in _open.TakeAll())
        {
            local.Fail(request, error);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _ladder.Dispose();

    /// <summary>Busy or execute_input: from here on the cell's time counts.</summary>
    private void Begun(JupyterMessage message)
    {
        if (_open.Find(message.ParentMessageId) is not { } request)
        {
            return;
        }

        if (message.MessageType == "execute_input")
        {
            LastExecutionCount = request.ExecutionCount = Answers.ExecutionCount(message);
        }

        if (_ladder.Started(message.ParentMessageId) is { } notice)
        {
            clients.Send(JupyterChannel.Iopub, answers.Stream(request.Message, notice + "\n"));
        }
    }

    /// <summary>An idle or a reply has passed, which ends a cell; one over its limit has to have both.</summary>
    private void Finished(string request)
    {
        if ((_open.Find(request) is null || !_ladder.IsClimbing) && _ladder.Ended(request))
        {
            Advance();
        }
    }

    private void Advance()
    {
        if (_open.Executing is { } head)
        {
            _ladder.AtHead(head.Message.MessageId);
        }
    }
}
