using Microsoft.Win32.SafeHandles;

namespace InterpreterKernel.SandboxHost.Native;

/// <summary>
/// A fresh pipe of which one end goes into a sandbox. The host makes it, so that it never has to take a descriptor
/// from a sandbox, whose kind it could not trust.
/// </summary>
internal sealed class PipePair : IDisposable
{
    private PipePair(SafeFileHandle read, SafeFileHandle write)
    {
        Read = read;
        Write = write;
    }

    internal SafeFileHandle Read { get; }

    internal SafeFileHandle Write { get; }

    public void Dispose()
    {
        Read.Dispose();
        Write.Dispose();
    }

    /// <summary>Gives the read end away: disposing of this pair no longer closes it.</summary>
    internal SafeFileHandle TakeRead() => Take(Read);

    /// <summary>Gives the write end away.</summary>
    internal SafeFileHandle TakeWrite() => Take(Write);

    /// <summary>Makes a pipe that <paramref name="owner"/> may reopen by name (<c>/dev/stdout</c>); null leaves it ours.</summary>
    internal static unsafe PipePair Create(uint? owner)
    {
        var ends = stackalloc int[2];
        if (LibC.Pipe2(ends, LibC.OpenCloseOnExec) != 0)
        {
            throw NativeException.Last("pipe2");
        }

        var pipe = new PipePair(new SafeFileHandle(ends[0], ownsHandle: true), new SafeFileHandle(ends[1], ownsHandle: true));
        if (owner is { } id && LibC.ChangeOwner(pipe.Read, id, id) != 0)
        {
            var failure = NativeException.Last("fchown of a pipe");
            pipe.Dispose();
            throw failure;
        }

        return pipe;
    }

    private static SafeFileHandle Take(SafeFileHandle end)
    {
        var taken = new SafeFileHandle(end.DangerousGetHandle(), ownsHandle: true);
        end.SetHandleAsInvalid();
        return taken;
    }
}
