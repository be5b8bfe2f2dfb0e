using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace InterpreterKernel.SandboxHost.Native;

/// <summary>
/// A child process with chosen descriptors. <see cref="System.Diagnostics.Process"/> can't pass a fourth descriptor,
/// and lets children inherit the ignored signals of the .NET runtime.
/// </summary>
internal static class NativeProcess
{
    private const short SetSignalDefault = 0x04;
    private const short SetSignalMask = 0x08;
    private const short SetSession = 0x80;
    private const int NoSuchProcess = 3;

    /// <summary>
    /// Starts <paramref name="path"/>; <paramref name="descriptors"/> become its 0, 1, 2, … and nothing else is inherited.
    /// </summary>
    internal static unsafe int Start(
        string path,
        IReadOnlyList<string> arguments,
        IReadOnlyList<string> environment,
        IReadOnlyList<SafeFileHandle> descriptors,
        bool ownSession = false)
    {
        // Larger than the structures of any C library (glibc: 80 and 336 bytes; a signal set is 128).
        var actions = stackalloc byte[1024];
        var attributes = stackalloc byte[1024];
        var noSignals = stackalloc byte[128];
        var allSignals = stackalloc byte[128];
        new Span<byte>(noSignals, 128).Clear();
        new Span<byte>(allSignals, 128).Fill(0xff);

        // dup2 onto 0..n-1 must not overwrite a descriptor that is still to be copied, so all are lifted first.
        var lifted = descriptors.Select(Lift).ToArray();
        Must(LibC.FileActionsInit(actions));
        Must(LibC.SpawnAttributesInit(attributes));
        var argumentBlock = Strings([path, .. arguments]);
        var environmentBlock = Strings(environment);
        var pathBytes = Marshal.StringToCoTaskMemUTF8(path);
        try
        {
            for (var i = 0; i < lifted.Length; i++)
            {
                Must(LibC.FileActionsAddDuplicate(actions, (int)lifted[i].DangerousGetHandle(), i));
            }

            Must(LibC.SpawnAttributesSetMask(attributes, noSignals));
            Must(LibC.SpawnAttributesSetDefault(attributes, allSignals));
            Must(LibC.SpawnAttributesSetFlags(attributes, (short)(SetSignalDefault | SetSignalMask | (ownSession ? SetSession : 0))));
            int pid;
            var error = LibC.Spawn(&pid, (byte*)pathBytes, actions, attributes, (byte**)argumentBlock, (byte**)environmentBlock);
            return error == 0 ? pid : throw NativeException.Of("starting " + path, error);
        }
        finally
        {
            _ = LibC.FileActionsDestroy(actions);
            _ = LibC.SpawnAttributesDestroy(attributes);
            NativeMemory.Free((void*)argumentBlock);
            NativeMemory.Free((void*)environmentBlock);
            Marshal.FreeCoTaskMem(pathBytes);
            foreach (var handle in lifted)
            {
                handle.Dispose();
            }
        }
    }

    /// <summary>Waits for a child and reaps it. The raw wait status; null when somebody else reaped it.</summary>
    internal static async Task<int?> WaitAsync(Poller poller, int pid)
    {
        var pidfd = LibC.PidfdOpen(pid);
        if (pidfd >= 0)
        {
            using var ended = new PolledDescriptor(poller, new SafeFileHandle(pidfd, ownsHandle: true), forWriting: false);
            await ended.WaitAsync();
        }

        return Reap(pid);
    }

    /// <summary>Takes the status of a child that has ended; null when it runs on or is not our child.</summary>
    internal static unsafe int? Reap(int pid)
    {
        int status;
        return LibC.WaitPid(pid, &status, LibC.NoHang) == pid ? status : null;
    }

    /// <summary>The same, waiting for its end.</summary>
    internal static unsafe int? ReapBlocking(int pid)
    {
        int status;
        return LibC.WaitPid(pid, &status, 0) == pid ? status : null;
    }

    /// <summary>Kills a child that has not been reaped (so that its id can't be another's yet).</summary>
    internal static void Kill(int pid)
    {
        using var pidfd = Poller.Own(LibC.PidfdOpen(pid), "pidfd_open");
        if (LibC.PidfdSendSignal((int)pidfd.DangerousGetHandle(), LibC.SigKill) != 0 && Marshal.GetLastPInvokeError() != NoSuchProcess)
        {
            throw NativeException.Last("pidfd_send_signal");
        }
    }

    /// <summary>A raw wait status as a shell shows it: the exit code, or 128 and the signal.</summary>
    internal static int ExitCode(int status) => (status & 0x7f) == 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f);

    private static void Must(int error)
    {
        if (error != 0)
        {
            throw NativeException.Of("posix_spawn attributes", error);
        }
    }

    private static SafeFileHandle Lift(SafeFileHandle handle)
    {
        const int duplicateCloseOnExec = 1030;
        return Poller.Own(LibC.FileControl(handle, duplicateCloseOnExec, 64), "fcntl(F_DUPFD_CLOEXEC)");
    }

    /// <summary>A null-terminated array of strings in one block: pointers first, then the bytes.</summary>
    private static unsafe nint Strings(IReadOnlyList<string> values)
    {
        var table = (nuint)(values.Count + 1) * (nuint)sizeof(byte*);
        var size = table;
        foreach (var value in values)
        {
            size += (nuint)Encoding.UTF8.GetByteCount(value) + 1;
        }

        var block = (byte*)NativeMemory.Alloc(size);
        var pointers = (byte**)block;
        var next = block + table;
        for (var i = 0; i < values.Count; i++)
        {
            pointers[i] = next;
            var length = Encoding.UTF8.GetBytes(values[i], new Span<byte>(next, (int)(block + size - next)));
            next[length] = 0;
            next += length + 1;
        }

        pointers[values.Count] = null;
        return (nint)block;
    }
}
