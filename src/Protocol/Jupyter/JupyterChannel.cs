namespace InterpreterKernel.Protocol.Jupyter;

/// <summary>The five sockets of a Jupyter kernel. The four that carry messages have the numbers they have in the tunnel.</summary>
public enum JupyterChannel
{
    /// <summary>Raw bytes, echoed. Never leaves the machine.</summary>
    Heartbeat = 0,

    /// <summary>Requests that the kernel takes one after the other, and their replies.</summary>
    Shell = 1,

    /// <summary>Requests that must pass while a cell runs: interrupt, shutdown, debugger.</summary>
    Control = 2,

    /// <summary>The kernel asks a client for input, the client answers.</summary>
    Stdin = 3,

    /// <summary>What the kernel publishes to every client.</summary>
    Iopub = 4,
}
