using InterpreterKernel.Protocol.ZeroMq;

namespace InterpreterKernel.Kernel.Jupyter;

/// <summary>Echoes the heartbeat from a thread of its own, so that a client sees us alive whatever else we do.</summary>
internal sealed class HeartbeatEcho : IDisposable
{
    private readonly ZeroMqSocket _socket;
    private readonly Action<string> _log;
    private readonly WakeSignal _stop = new();
    private readonly Thread _thread;

    internal HeartbeatEcho(ZeroMqSocket socket, Action<string> log)
    {
        _socket = socket;
        _log = log;
        _thread = new Thread(Run) { IsBackground = true, Name = "jupyter heartbeat" };
        _thread.Start();
    }

    /// <summary>Returns when the thread no longer uses the socket.</summary>
    public void Dispose()
    {
        _stop.Raise();
        _thread.Join();
        _stop.Dispose();
    }

    private void Run()
    {
        try
        {
            var poller = new ZeroMqPoller();
            poller.Add(_socket);
            var stop = poller.Add(_stop.Descriptor);
            while (true)
            {
                poller.Wait(-1);
                if (poller.IsReady(stop))
                {
                    break;
                }

                while (_socket.TryReceive(out var ping) is var received && received != ZeroMqReceived.Nothing)
                {
                    if (received == ZeroMqReceived.Message)
                    {
                        _socket.TrySend(ping);
                    }
                }
            }
        }
        catch (ZeroMqException e)
        {
            _log($"The heartbeat ended ({e.Message}). Cells still run, but some clients may take the kernel for dead; restart it then.");
        }
    }
}
