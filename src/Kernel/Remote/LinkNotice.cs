namespace InterpreterKernel.Kernel.Remote;

/// <summary>Tells the user, once, when the connection to the sandbox has been away for some seconds; and again when it is back.</summary>
internal sealed class LinkNotice : IDisposable
{
    private readonly Lock _gate = new();
    private readonly RelayLink _link;
    private readonly Action<string> _tell;
    private readonly TimeSpan _after;
    private readonly ITimer _timer;
    private bool _told;

    /// <summary>Starts to watch.</summary>
    public LinkNotice(RelayLink link, TimeSpan after, TimeProvider time, Action<string> tell)
    {
        _link = link;
        _tell = tell;
        _after = after;
        _timer = time.CreateTimer(_ => Late(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        link.ConnectionChanged += OnChanged;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _link.ConnectionChanged -= OnChanged;
        _timer.Dispose();
    }

    private void OnChanged(RelayConnection connection)
    {
        lock (_gate)
        {
            if (!connection.IsConnected)
            {
                _timer.Change(_after, Timeout.InfiniteTimeSpan);
                return;
            }

            _timer.Change(Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
            if (_told)
            {
                _told = false;
                _tell("The connection to the sandbox is back; nothing was lost.");
            }
        }
    }

    private void Late()
    {
        lock (_gate)
        {
            if (!_told && !_link.Connection.IsConnected)
            {
                _told = true;
                _tell($"The sandbox can't be reached ({_link.Connection.Reason}). The code goes on there; its output will follow when the connection is back.");
            }
        }
    }
}
