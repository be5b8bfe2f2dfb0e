namespace InterpreterKernel.Protocol.ZeroMq;

/// <summary>The error numbers that we act on. They differ between Linux and macOS; libzmq's own start at 156384712.</summary>
internal static class Errno
{
    internal const int Interrupted = 4;
    internal const int NoAccess = 13;
    internal const int NoDevice = 19;
    internal const int Invalid = 22;
    internal const int TooManyFiles = 24;
    internal const int WrongState = 156384712 + 51;
    internal const int Terminated = 156384712 + 53;

    internal static readonly int Again = OperatingSystem.IsMacOS() ? 35 : 11;
    internal static readonly int AddressInUse = OperatingSystem.IsMacOS() ? 48 : 98;
    internal static readonly int AddressNotAvailable = OperatingSystem.IsMacOS() ? 49 : 99;
    internal static readonly int NameTooLong = OperatingSystem.IsMacOS() ? 63 : 36;
}
