using InterpreterKernel.Protocol.Jupyter;

namespace InterpreterKernel.Kernel;

/// <summary>
/// The requests that were handed to the remote kernel and are not finished. A request is finished when both its reply and the
/// idle after it have passed; messages that get no reply (comms) are finished by their idle. When the remote is gone, what is
/// left here is what still has to be answered, each once. Not thread-safe: the bridge's lock guards it.
/// </summary>
internal sealed class InFlight
{
    /// <summary>A kernel that never answers some type of request must not fill our memory.</summary>
    private const int Most = 4096;

    private readonly Dictionary<string, Request> _open = [];
    private readonly LinkedList<Request> _order = [];

    /// <summary>The oldest execute_request that is open: the one that runs.</summary>
    public Request? Executing => _order.FirstOrDefault(r => r.Message.MessageType == "execute_request" && !r.Idle);

    /// <summary>Whether any execute_request is open: its reply or its idle has not passed.</summary>
    public bool HasCells => _order.Any(r => r.Message.MessageType == "execute_request");

    /// <summary>How many are open.</summary>
    public int Count => _open.Count;

    /// <summary>The open request of this id, if there is one.</summary>
    public Request? Find(string id) => _open.GetValueOrDefault(id);

    /// <summary>Notes that a request is on its way.</summary>
    public void Add(JupyterChannel channel, JupyterMessage message)
    {
        if (channel == JupyterChannel.Stdin || message.MessageId.Length == 0 || _open.ContainsKey(message.MessageId))
        {
            return;
        }

        if (_open.Count >= Most)
        {
            Remove(_order.First!.Value);
        }

        var request = new Request(channel, message, KernelMessages.ReplyTypeOf(message.MessageType) is not null);
        request.Place = _order.AddLast(request);
        _open.Add(message.MessageId, request);
    }

    /// <summary>Notes that the reply to this request has passed.</summary>
    public void Replied(string parent)
    {
        if (_open.TryGetValue(parent, out var request))
        {
            request.Replied = true;
            RemoveIfFinished(request);
        }
    }

    /// <summary>Notes that the idle of this request has passed.</summary>
    public void Idle(string parent)
    {
        if (_open.TryGetValue(parent, out var request))
        {
            request.Idle = true;
            RemoveIfFinished(request);
        }
    }

    /// <summary>Takes one out, finished or not.</summary>
    public void Take(Request request) => Remove(request);

    /// <summary>Takes out all that is open, oldest first.</summary>
    public IReadOnlyList<Request> TakeAll()
    {
        Request[] all = [.. _order];
        _order.Clear();
        _open.Clear();
        return all;
    }

    private void RemoveIfFinished(Request request)
    {
        if (request.Idle && (request.Replied || !request.Answered))
        {
            Remove(request);
        }
    }

    private void Remove(Request request)
    {
        _open.Remove(request.Message.MessageId);
        _order.Remove(request.Place!);
    }

    /// <summary>One open request.</summary>
    internal sealed class Request(JupyterChannel channel, JupyterMessage message, bool answered)
    {
        /// <summary>Where it came in, and its reply goes out.</summary>
        public JupyterChannel Channel { get; } = channel;

        /// <summary>The request itself.</summary>
        public JupyterMessage Message { get; } = message;

        /// <summary>Whether its type gets a reply.</summary>
        public bool Answered { get; } = answered;

        /// <summary>Whether the reply has passed.</summary>
        public bool Replied { get; set; }

        /// <summary>Whether the idle has passed.</summary>
        public bool Idle { get; set; }

        /// <summary>The number that the kernel gave the cell, once it has.</summary>
        public int ExecutionCount { get; set; }

        /// <summary>Its idle, while it is held back until the reply is known.</summary>
        public JupyterMessage? HeldIdle { get; set; }

        /// <summary>Whether the kernel is through with it, although its reply may be missing.</summary>
        public bool HasEnded => Idle || HeldIdle is not null;

        /// <summary>Whether the error that its reply names has been shown.</summary>
        public bool ErrorShown { get; set; }

        internal LinkedListNode<Request>? Place { get; set; }
    }
}
