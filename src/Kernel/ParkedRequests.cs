using InterpreterKernel.Protocol.Jupyter;

namespace InterpreterKernel.Kernel;

/// <summary>
/// The requests that wait for a kernel, in their order. The first cell is told why from one second on. Not thread-safe: the bridge's lock
/// guards it.
/// </summary>
internal sealed class ParkedRequests(IClients clients, Answers answers, LocalAnswers local, TimeProvider time) : IDisposable
{
    private static readonly TimeSpan s_untilToldWhy = TimeSpan.FromSeconds(1);

    private readonly List<Parked> _parked = [];
    private WaitingNotice? _waiting;

    /// <summary>How many wait.</summary>
    public int Count => _parked.Count;

    /// <summary>Lets one wait; a cell that is next is busy with that.</summary>
    public void Add(JupyterChannel channel, JupyterMessage message, bool isNext = false)
    {
        _parked.Add(new Parked(channel, message));
        if (_waiting is null && message.MessageType == "execute_request")
        {
            if (isNext)
            {
                // At once: jupyter console takes the idle of any earlier request for this one's, if it hears no busy within 50 ms.
                local.SayBusyEarly(message);
            }

            _waiting = new WaitingNotice(message, local.HasSaidBusy(message), s_untilToldWhy, clients, answers, time);
        }
    }

    /// <summary>What they wait for now.</summary>
    public void Because(string why) => _waiting?.Because(why);

    /// <summary>Replies keep their order on a channel, also where we could answer at once.</summary>
    public bool HasOthersOn(JupyterChannel channel) => _parked.Exists(p => p.Channel == channel && p.Message.MessageType != "kernel_info_request");

    /// <summary>The waiting is over, for good or ill: takes all out, oldest first.</summary>
    public IReadOnlyList<Parked> TakeAll() => Take(static _ => true);

    /// <summary>Takes one out if it still waits, and no other on its channel before it.</summary>
    public bool TakeFirst(JupyterChannel channel, JupyterMessage message)
    {
        var at = _parked.FindIndex(p => p.Channel == channel);
        if (at < 0 || _parked[at].Message != message)
        {
            return false;
        }

        _parked.RemoveAt(at);
        return true;
    }

    /// <summary>Takes the cells out, oldest first.</summary>
    public IReadOnlyList<Parked> TakeCells() => Take(static p => p.IsCell);

    /// <summary>Puts some before the others: they came earlier.</summary>
    public void AddBefore(IEnumerable<(JupyterChannel Channel, JupyterMessage Message)> earlier)
    {
        var later = TakeAll();
        foreach (var (channel, message) in earlier.Concat(later.Select(p => (p.Channel, p.Message))))
        {
            Add(channel, message);
        }
    }

    /// <summary>Answers the cells, which will not be run because of one before them.</summary>
    public void AbortCells()
    {
        foreach (var (channel, cell) in TakeCells())
        {
            local.Abort(channel, cell);
        }
    }

    /// <summary>Answers everything with the reason why it can't be done.</summary>
    public void FailAll(CellError error)
    {
        foreach (var (channel, request) in TakeAll())
        {
            if (request.MessageType == "kernel_info_request")
            {
                // A client that gets no kernel_info shows nothing but a dead kernel. So it gets one, and the first cell tells the reason.
                local.Reply(channel, request, answers.KernelInfo(request, KernelInfoCache.Placeholder(error.Value)));
            }
            else
            {
                local.Fail(channel, request, error);
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _waiting?.Dispose();

    private Parked[] Take(Predicate<Parked> which)
    {
        if (_waiting is { } waiting)
        {
            waiting.Over();
            if (waiting.HasSaidBusy)
            {
                local.BusyWasSaid(waiting.Cell.MessageId);
            }

            _waiting = null;
        }

        Parked[] taken = [.. _parked.FindAll(which)];
        _parked.RemoveAll(which);
        return taken;
    }

    /// <summary>One that waits.</summary>
    internal readonly record struct Parked(JupyterChannel Channel, JupyterMessage Message)
    {
        /// <summary>Whether it is a cell.</summary>
        public bool IsCell => Message.MessageType == "execute_request";
    }
}
