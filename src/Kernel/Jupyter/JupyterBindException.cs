using InterpreterKernel.Protocol.Jupyter;
using InterpreterKernel.Protocol.ZeroMq;

namespace InterpreterKernel.Kernel.Jupyter;

/// <summary>One of the five sockets could not be bound; the others were closed again.</summary>
internal sealed class JupyterBindException : Exception
{
    internal JupyterBindException(JupyterChannel channel, string endpoint, ZeroMqException cause)
        : base(TextOf(channel, endpoint, cause), cause)
    {
        Channel = channel;
        Endpoint = endpoint;
        Reason = cause.Reason;
    }

    /// <summary>Which socket it was.</summary>
    public JupyterChannel Channel { get; }

    /// <summary>Where it should have listened.</summary>
    public string Endpoint { get; }

    /// <summary>Why it could not.</summary>
    public ZeroMqFault Reason { get; }

    private static string TextOf(JupyterChannel channel, string endpoint, ZeroMqException cause)
    {
        var (what, mend) = cause.Reason switch
        {
            ZeroMqFault.AddressInUse => (
                "another program listens there",
                "Start the kernel again, Jupyter then picks other ports; or end that program ('ss -ltnp' names it)."),
            ZeroMqFault.BadAddress => (
                "that is no address of this machine",
                "Check ip and transport in the connection file; the path of an ipc socket may have some 100 characters."),
            ZeroMqFault.NotAllowed => (
                "this user may not listen there",
                "Use ports from 1024 up, or for ipc a directory that this user may write to."),
            _ => (cause.Message, "Check ip, transport and CURVE keys in the connection file."),
        };
        return $"The {channel.ToString().ToLowerInvariant()} socket can't be bound to {endpoint}: {what}. "
            + $"The kernel did not start and nothing is left running. {mend}";
    }
}
