using InterpreterKernel.Protocol.Jupyter;

namespace InterpreterKernel.Kernel;

/// <summary>
/// Ends requests that the real kernel did not end. Each gets what is missing of its busy, error, reply and idle, as the real kernel would
/// have given them: clients wait for them (jupyter-wire.md section 3.2). Not thread-safe: the bridge's lock guards it.
/// </summary>
internal sealed class LocalAnswers(IClients clients, Answers answers)
{
    // Few: a cell that was told what it waits for, and one whose magics ran.
    private readonly HashSet<string> _saidBusy = [];

    /// <summary>The busy of this request was said, before anything else was shown in it; the kernel's own would be a second one.</summary>
    public void BusyWasSaid(string request) => _saidBusy.Add(request);

    /// <summary>Whether it was, and the kernel's own has not come yet.</summary>
    public bool HasSaidBusy(JupyterMessage request) => _saidBusy.Contains(request.MessageId);

    /// <summary>Says it of a request that the kernel will begin with when it is there.</summary>
    public void SayBusyEarly(JupyterMessage request)
    {
        if (_saidBusy.Add(request.MessageId))
        {
            Publish(answers.Status(request, "busy"));
        }
    }

    /// <summary>Says that a request is begun with, if that was not said; <see cref="FailBegun"/> or the kernel ends it.</summary>
    public void Begin(JupyterMessage request) => SayBusy(request);

    /// <summary>Whether this message is the busy that was said already; asked once.</summary>
    public bool IsSaid(JupyterMessage message)
    {
        return _saidBusy.Count > 0 && message.MessageType == "status" && Answers.IsBusy(message) && _saidBusy.Remove(message.ParentMessageId);
    }

    /// <summary>Answers a request that the kernel has not seen.</summary>
    public void Reply(JupyterChannel channel, JupyterMessage request, JupyterMessage? reply)
    {
        SayBusy(request);
        if (reply is not null)
        {
            clients.Send(channel, reply);
        }

        Publish(answers.Status(request, "idle"));
    }

    /// <summary>Fails a request that the kernel has not seen.</summary>
    public void Fail(JupyterChannel channel, JupyterMessage request, CellError error)
    {
        SayBusy(request);
        FailBegun(channel, request, error);
    }

    /// <summary>Fails a request that was said to be begun with here, and that the kernel has not seen.</summary>
    public void FailBegun(JupyterChannel channel, JupyterMessage request, CellError error, int executionCount = 0)
    {
        if (request.MessageType == "execute_request")
        {
            Publish(answers.Error(request, error));
        }

        if (answers.ErrorReply(request, error, executionCount) is { } reply)
        {
            clients.Send(channel, reply);
        }

        Publish(answers.Status(request, "idle"));
    }

    /// <summary>Answers a cell that the kernel has not seen and will not, because one before it failed.</summary>
    public void Abort(JupyterChannel channel, JupyterMessage cell) => Reply(channel, cell, answers.Aborted(cell));

    /// <summary>Fails a request that the kernel has begun with, or has in its queue.</summary>
    public void Fail(InFlight.Request request, CellError error)
    {
        if (!request.Replied && answers.ErrorReply(request.Message, error, request.ExecutionCount) is { } reply)
        {
            if (request.Message.MessageType == "execute_request" && !request.ErrorShown)
            {
                Publish(answers.Error(request.Message, error));
            }

            clients.Send(request.Channel, reply);
        }

        if (!request.Idle)
        {
            Publish(answers.Status(request.Message, "idle"));
        }
    }

    /// <summary>Aborts a cell in the kernel's queue.</summary>
    public void Abort(InFlight.Request cell)
    {
        if (!cell.Replied)
        {
            clients.Send(cell.Channel, answers.Aborted(cell.Message));
        }

        if (!cell.Idle)
        {
            Publish(answers.Status(cell.Message, "idle"));
        }
    }

    private void SayBusy(JupyterMessage request)
    {
        if (!_saidBusy.Remove(request.MessageId))
        {
            Publish(answers.Status(request, "busy"));
        }
    }

    private void Publish(JupyterMessage message) => clients.Send(JupyterChannel.Iopub, message);
}
