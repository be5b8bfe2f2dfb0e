using System.Globalization;
using InterpreterKernel.Protocol.Jupyter;

namespace InterpreterKernel.Kernel.Jupyter;

/// <summary>
/// Tells whether, while output is blocked, some client has read all that it was sent and waits for more. Only then is
/// it right to let the stuck one lose messages: a Jupyter server subscribes several times from one process, and when
/// it is busy all its subscriptions stall together, with nobody to gain from a loss.
/// </summary>
internal sealed class WaitingSubscribers(ConnectionFile file)
{
    private const string Established = "01";

    private readonly int _port = file.Transport == JupyterTransport.Tcp ? file.IopubPort : 0;

    /// <summary>Asked rarely: only when a client has been stuck for long.</summary>
    internal bool Any(int subscriptions)
    {
        if (subscriptions < 2)
        {
            return false;
        }

        // For Unix sockets, and on other systems, the queues can't be seen; then any second client may be waiting.
        return _port == 0 || !OperatingSystem.IsLinux() || AnyDrained("/proc/self/net/tcp") || AnyDrained("/proc/self/net/tcp6");
    }

    // sl  local_address rem_address   st tx_queue:rx_queue …   The port is hexadecimal, as are the queues.
    private bool AnyDrained(string table)
    {
        try
        {
            foreach (var line in File.ReadLines(table).Skip(1))
            {
                var fields = line.Split(' ', 6, StringSplitOptions.RemoveEmptyEntries);
                if (fields.Length == 6 && fields[3] == Established && PortIn(fields[1]) == _port && fields[4].StartsWith("00000000:", StringComparison.Ordinal))
                {
                    return true;
                }
            }

            return false;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // No table (a hidden /proc): as on systems without one. Without IPv6 the second table is missing for good.
            return table.EndsWith("/tcp", StringComparison.Ordinal);
        }
    }

    private static int PortIn(string address)
        => int.TryParse(address.AsSpan(address.LastIndexOf(':') + 1), NumberStyles.HexNumber, CultureInfo.InvariantCulture, out var port) ? port : -1;
}
