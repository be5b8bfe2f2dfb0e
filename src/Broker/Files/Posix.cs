using System.Net.Sockets;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace InterpreterKernel.Broker;

/// <summary>The few calls of the operating system that .NET does not offer.</summary>
internal static partial class Posix
{
    public const int LockExclusive = 2;
    public const int LockNonBlocking = 4;
    public const int ErrorWouldBlock = 11;
    public const int ErrorInterrupted = 4;

    private const int OpenReadWrite = 2;
    private const int OpenCreate = 0x40;
    private const int OpenCloseOnExec = 0x80000;
    private const int AtFileDescriptorWorkingDirectory = -100;
    private const int AtSymlinkNoFollow = 0x100;
    private const uint StatxBasic = 0x7ff;
    private const int SetDescriptorFlags = 2;
    private const int CloseOnExec = 1;
    private const int SolSocket = 1;
    private const int SoPeerCredentials = 17;

    /// <summary>Opens a file of ours for reading and writing; it is not inherited by other programs.</summary>
    public static SafeFileHandle OpenOrCreate(string path)
    {
        var descriptor = Open(path, OpenReadWrite | OpenCreate | OpenCloseOnExec, 0x180);
        return descriptor >= 0
            ? new SafeFileHandle(descriptor, ownsHandle: true)
            : throw new IOException($"{path} cannot be opened: {Marshal.GetLastPInvokeErrorMessage()}");
    }

    [LibraryImport("libc", EntryPoint = "geteuid")]
    public static partial uint EffectiveUserId();

    [LibraryImport("libc", EntryPoint = "flock", SetLastError = true)]
    public static partial int Flock(SafeHandle file, int operation);

    /// <summary>What a path is, without following a symbolic link at its end; null when there is nothing.</summary>
    public static (FileKind Kind, uint Owner, UnixFileMode Mode)? Describe(string path)
    {
        if (Statx(AtFileDescriptorWorkingDirectory, path, AtSymlinkNoFollow, StatxBasic, out var stat) != 0)
        {
            return null;
        }

        var kind = (stat.Mode & 0xF000) switch
        {
            0x4000 => FileKind.Directory,
            0xA000 => FileKind.SymbolicLink,
            _ => FileKind.Other,
        };
        return (kind, stat.Uid, (UnixFileMode)(stat.Mode & 0xFFF));
    }

    /// <summary>Keeps an inherited descriptor from being inherited further.</summary>
    public static void CloseWhenExecuting(int descriptor) => _ = FileControl(descriptor, SetDescriptorFlags, CloseOnExec);

    /// <summary>The user at the other end of a unix socket, as the kernel knows it; null when it does not say.</summary>
    public static uint? PeerUser(Socket socket)
    {
        // struct ucred { pid_t pid; uid_t uid; gid_t gid; }
        Span<byte> credentials = stackalloc byte[12];
        try
        {
            return socket.GetRawSocketOption(SolSocket, SoPeerCredentials, credentials) == 12
                ? MemoryMarshal.Read<uint>(credentials[4..])
                : null;
        }
        catch (SocketException)
        {
            return null;
        }
    }

    // open is variadic; its mode is passed like any other integer on the 64-bit Linux ABIs.
    [LibraryImport("libc", EntryPoint = "open", StringMarshalling = StringMarshalling.Utf8, SetLastError = true)]
    private static partial int Open(string path, int flags, uint mode);

    [LibraryImport("libc", EntryPoint = "statx", StringMarshalling = StringMarshalling.Utf8, SetLastError = true)]
    private static partial int Statx(int directory, string path, int flags, uint mask, out StatxResult result);

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    private static partial int FileControl(int descriptor, int command, int argument);

    // The kernel's own struct, the same on every architecture; only the head of its 256 bytes is named.
    [StructLayout(LayoutKind.Sequential, Size = 256)]
    private struct StatxResult
    {
        public uint Mask;
        public uint BlockSize;
        public ulong Attributes;
        public uint Links;
        public uint Uid;
        public uint Gid;
        public ushort Mode;
    }
}

internal enum FileKind
{
    Directory,
    SymbolicLink,
    Other,
}
