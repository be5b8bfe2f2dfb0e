using InterpreterKernel.Protocol.Jupyter;

namespace InterpreterKernel.Kernel;

/// <summary>The near end of the bridge: all clients of this kernel. Behind it stand <c>JupyterSockets</c> and the bridge's test double.</summary>
internal interface IClients
{
    /// <summary>Completes when somebody listens to iopub; what is published before is heard by nobody.</summary>
    Task FirstSubscriber { get; }

    /// <summary>Sends a message, signed. Never blocks; what goes out on one channel keeps its order.</summary>
    void Send(JupyterChannel channel, JupyterMessage message);

    /// <summary>Completes when what is queued for slow clients is under its bound.</summary>
    ValueTask WaitForRoomAsync(CancellationToken cancellationToken);
}
