using InterpreterKernel.Protocol.Jupyter;

namespace InterpreterKernel.Kernel;

/// <summary>
/// Tells a cell what it waits for: a line on stderr for each new state, from one second on. When the waiting is over, what
/// was shown is cleared again; a wait of under a second leaves no trace.
/// </summary>
internal sealed class WaitingNotice : IDisposable
{
    private readonly Lock _gate = new();
    private readonly IClients _clients;
    private readonly Answers _answers;
    private readonly ITimer _timer;
    private string _why = "Waiting for a sandbox";
    private bool _due;
    private bool _saidBusy;
    private bool _shown;
    private bool _over;

    /// <summary>Starts the time for <paramref name="cell"/>.</summary>
    public WaitingNotice(JupyterMessage cell, bool hasSaidBusy, TimeSpan after, IClients clients, Answers answers, TimeProvider time)
    {
        Cell = cell;
        _saidBusy = hasSaidBusy;
        _clients = clients;
        _answers = answers;
        _timer = time.CreateTimer(_ => Due(), null, after, Timeout.InfiniteTimeSpan);
    }

    /// <summary>The cell that waits.</summary>
    public JupyterMessage Cell { get; }

    /// <summary>Whether the cell's busy was said, here or before.</summary>
    public bool HasSaidBusy
    {
        get
        {
            lock (_gate)
            {
                return _saidBusy;
            }
        }
    }

    /// <summary>What is waited for now.</summary>
    public void Because(string why)
    {
        lock (_gate)
        {
            if (_why == why)
            {
                return;
            }

            _why = why;
            Show_NeedsLock();
        }
    }

    /// <summary>The waiting is over.</summary>
    public void Over()
    {
        lock (_gate)
        {
            if (!_over && _shown)
            {
                _clients.Send(JupyterChannel.Iopub, _answers.ClearOutput(Cell));
            }

            _over = true;
        }

        _timer.Dispose();
    }

    /// <inheritdoc/>
    public void Dispose() => _timer.Dispose();

    private void Due()
    {
        lock (_gate)
        {
            _due = true;
            Show_NeedsLock();
        }
    }

    private void Show_NeedsLock()
    {
        if (_due && !_over)
        {
            if (!_saidBusy)
            {
                // Clients expect a cell's output between its busy and its idle.
                _clients.Send(JupyterChannel.Iopub, _answers.Status(Cell, "busy"));
                _saidBusy = true;
            }

            _shown = true;
            _clients.Send(JupyterChannel.Iopub, _answers.Stream(Cell, _why + "\n"));
        }
    }
}
