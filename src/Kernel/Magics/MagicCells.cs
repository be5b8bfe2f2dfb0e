using InterpreterKernel.Protocol.Jupyter;

namespace InterpreterKernel.Kernel.Magics;

/// <summary>
/// The place of magics in a kernel's order. A cell with magics waits for the cells before it, and everything on the shell behind it waits for its
/// magics, as if the kernel itself ran them. Not thread-safe: the bridge's lock guards it.
/// </summary>
internal sealed class MagicCells(LocalAnswers local)
{
    private readonly Queue<(JupyterChannel Channel, JupyterMessage Message)> _held = [];

    /// <summary>The cell whose magics run now.</summary>
    public MagicCell? Running { get; private set; }

    /// <summary>Whether requests of the shell have to wait here.</summary>
    public bool IsHolding => Running is not null || _held.Count > 0;

    /// <summary>Lets one wait.</summary>
    public void Hold(JupyterChannel channel, JupyterMessage message) => _held.Enqueue((channel, message));

    /// <summary>The next one whose turn it may be.</summary>
    public bool TryPeek(out (JupyterChannel Channel, JupyterMessage Message) next) => _held.TryPeek(out next);

    /// <summary>Takes that one out.</summary>
    public void Take() => _held.Dequeue();

    /// <summary>The magics of a cell begin.</summary>
    public void Begin(MagicCell cell)
    {
        Running = cell;
        local.Begin(cell.Request);
    }

    /// <summary>They are through. False when the cell was answered meanwhile.</summary>
    public bool End(MagicCell cell)
    {
        if (Running != cell)
        {
            return false;
        }

        Running = null;
        return true;
    }

    /// <summary>Takes out all that waits, in order.</summary>
    public IReadOnlyList<(JupyterChannel Channel, JupyterMessage Message)> TakeHeld()
    {
        (JupyterChannel, JupyterMessage)[] held = [.. _held];
        _held.Clear();
        return held;
    }

    /// <summary>A cell before them failed: the cells that wait here do not run, as those in the kernel's own queue.</summary>
    public void AbortCells()
    {
        foreach (var (channel, message) in TakeHeld())
        {
            if (message.MessageType == "execute_request")
            {
                local.Abort(channel, message);
            }
            else
            {
                Hold(channel, message);
            }
        }
    }

    /// <summary>The end of all: the cell that runs is stopped, and everything answered with the reason.</summary>
    public void FailAll(CellError error)
    {
        if (Running is { } cell)
        {
            Running = null;
            cell.Stop();
            local.FailBegun(cell.Channel, cell.Request, error);
        }

        foreach (var (channel, message) in TakeHeld())
        {
            local.Fail(channel, message, error);
        }
    }
}
