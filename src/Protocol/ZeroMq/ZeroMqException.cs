using System.Runtime.InteropServices;

namespace InterpreterKernel.Protocol.ZeroMq;

/// <summary>What kind of failure libzmq had, as far as callers treat it differently.</summary>
public enum ZeroMqFault
{
    /// <summary>No usable libzmq is installed.</summary>
    LibraryMissing,

    /// <summary>Another program holds the address.</summary>
    AddressInUse,

    /// <summary>The address is not one of this machine, or makes no sense.</summary>
    BadAddress,

    /// <summary>The rights to bind there are missing.</summary>
    NotAllowed,

    /// <summary>Descriptors or sockets are used up.</summary>
    Exhausted,

    /// <summary>The library can't do what was asked, such as encryption.</summary>
    NotSupported,

    /// <summary>The context is being closed.</summary>
    Closed,

    /// <summary>Anything else; the text has libzmq's own words.</summary>
    Other,
}

/// <summary>libzmq refused a call, or isn't there.</summary>
public sealed class ZeroMqException : Exception
{
    /// <summary>Makes it from its parts.</summary>
    public ZeroMqException(ZeroMqFault reason, string message, int errno = 0, Exception? inner = null)
        : base(message, inner)
    {
        Reason = reason;
        Errno = errno;
    }

    /// <summary>What kind of failure it was.</summary>
    public ZeroMqFault Reason { get; }

    /// <summary>The error number of the failed call; 0 when there was no call.</summary>
    public int Errno { get; }

    /// <summary>The exception for the P/Invoke that just failed while doing <paramref name="what"/>.</summary>
    internal static ZeroMqException Last(string what) => From(Marshal.GetLastPInvokeError(), what);

    internal static ZeroMqException From(int errno, string what)
    {
        var text = Marshal.PtrToStringUTF8(LibZmq.StrError(errno)) ?? "unknown error";
        return new ZeroMqException(ReasonOf(errno), $"ZeroMQ could not {what}: {text} (errno {errno})", errno);
    }

    private static ZeroMqFault ReasonOf(int errno) => errno switch
    {
        _ when errno == ZeroMq.Errno.AddressInUse => ZeroMqFault.AddressInUse,
        _ when errno == ZeroMq.Errno.AddressNotAvailable || errno == ZeroMq.Errno.NameTooLong => ZeroMqFault.BadAddress,
        ZeroMq.Errno.NoDevice => ZeroMqFault.BadAddress,
        ZeroMq.Errno.NoAccess => ZeroMqFault.NotAllowed,
        ZeroMq.Errno.TooManyFiles => ZeroMqFault.Exhausted,
        ZeroMq.Errno.Invalid => ZeroMqFault.NotSupported,
        ZeroMq.Errno.Terminated => ZeroMqFault.Closed,
        _ => ZeroMqFault.Other,
    };
}
