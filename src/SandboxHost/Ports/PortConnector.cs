using System.Net;
using System.Net.Sockets;
using InterpreterKernel.SandboxHost.Sandboxes;

namespace InterpreterKernel.SandboxHost.Ports;

/// <summary>Connects to servers that listen on the loopback interface inside a sandbox.</summary>
internal static class PortConnector
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(5);

    /// <exception cref="PortClosedException">Nothing listens there, or it accepts nobody in time.</exception>
    internal static async Task<Socket> ConnectAsync(LocalSandbox sandbox, int port, CancellationToken cancellation)
    {
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        patience.CancelAfter(s_patience);
        try
        {
            // "localhost" is ::1 for some servers, so that is the second try.
            return await TryConnectAsync(sandbox, version6: false, port, patience.Token)
                ?? await TryConnectAsync(sandbox, version6: true, port, patience.Token)
                ?? throw new PortClosedException($"nothing listens on port {port}");
        }
        catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
        {
            throw new PortClosedException($"port {port} accepted no connection within {s_patience.TotalSeconds:0} s");
        }
        catch (IOException e)
        {
            throw new PortClosedException(e.Message);
        }
    }

    /// <summary>Null when nothing listens there.</summary>
    private static async Task<Socket?> TryConnectAsync(LocalSandbox sandbox, bool version6, int port, CancellationToken cancellation)
    {
        var socket = await PassedSocket.OpenAsync(sandbox.Container.Agent, sandbox.Poller, version6, cancellation);
        try
        {
            await socket.ConnectAsync(new IPEndPoint(version6 ? IPAddress.IPv6Loopback : IPAddress.Loopback, port), cancellation);
            socket.NoDelay = true;
            return socket;
        }
        catch (SocketException)
        {
            socket.Dispose();
            return null;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }
}

/// <summary>No connection to a port of a sandbox could be made.</summary>
internal sealed class PortClosedException(string message) : Exception(message);
