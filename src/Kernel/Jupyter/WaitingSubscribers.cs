using System.Globalization;
using System.Net;
using System.Net.Sockets;
using InterpreterKernel.Protocol.Jupyter;

namespace InterpreterKernel.Kernel.Jupyter;

/// <summary>
/// Tells whether, while output is blocked, some client has read all that it was sent and waits for more. Only then is
/// it right to let the stuck one lose messages: a Jupyter server subscribes several times from one process, and when
/// it is busy all its subscriptions stall together, with nobody to gain from a loss.
/// </summary>
internal sealed class WaitingSubscribers(ConnectionFile file)
{
    private readonly string _address = AddressOf(file);
    private readonly bool _visible = file.Transport == JupyterTransport.Tcp && OperatingSystem.IsLinux();

    /// <summary>Asked rarely: only when a client has been stuck for long.</summary>
    internal bool Any(int subscriptions)
    {
        if (subscriptions < 2)
        {
            return false;
        }

        // The queues of Unix sockets, and of other systems, can't be seen; any second client may then be waiting.
        return !_visible || AnyDrained("/proc/self/net/tcp") || AnyDrained("/proc/self/net/tcp6");
    }

    /// <summary>
    /// Lines of the table: <c>sl local_address rem_address st tx_queue:rx_queue …</c>, all hexadecimal. A connection has a
    /// line for our end, and when its client is on this machine a second one for that. What we sent waits at our
    /// end (tx) or, read by the system but not by the client, at the other (rx).
    /// </summary>
    private bool AnyDrained(string table)
    {
        const string Established = "01";
        var sentAll = new List<string>();
        var unread = new HashSet<string>(StringComparer.Ordinal);
        try
        {
            foreach (var line in File.ReadLines(table).Skip(1))
            {
                if (line.Split(' ', 6, StringSplitOptions.RemoveEmptyEntries) is not [_, var local, var remote, Established, var queues, _])
                {
                    continue;
                }

                if (IsIopub(local) && queues.StartsWith("00000000:", StringComparison.Ordinal))
                {
                    sentAll.Add(remote);
                }
                else if (IsIopub(remote) && !queues.EndsWith(":00000000", StringComparison.Ordinal))
                {
                    unread.Add(local);
                }
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // A hidden /proc is like another system. Without IPv6 only the second table is missing.
            return table.EndsWith("/tcp", StringComparison.Ordinal);
        }

        return sentAll.Exists(client => !unread.Contains(client));
    }

    private bool IsIopub(string address) => address.EndsWith(_address, StringComparison.Ordinal);

    // How the table writes where we listen. The same port of another address is somebody else's, so the address counts
    // too, where there is one: the table has an IPv4 address as a number in the machine's own byte order.
    private static string AddressOf(ConnectionFile file)
    {
        var port = ":" + file.IopubPort.ToString("X4", CultureInfo.InvariantCulture);
        var isOne = IPAddress.TryParse(file.Ip == "localhost" ? "127.0.0.1" : file.Ip, out var ip)
            && ip.AddressFamily == AddressFamily.InterNetwork
            && !ip.Equals(IPAddress.Any);
        return isOne ? BitConverter.ToUInt32(ip!.GetAddressBytes()).ToString("X8", CultureInfo.InvariantCulture) + port : port;
    }
}
