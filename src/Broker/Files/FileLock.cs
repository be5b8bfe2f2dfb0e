using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace InterpreterKernel.Broker;

/// <summary>
/// A lock between processes (<c>flock</c>). The operating system drops it when its holder ends, however that comes
/// about, so a stale one does not exist. The file stays: removing it would let two processes lock two files of one name.
/// </summary>
internal sealed class FileLock : IDisposable
{
    private readonly SafeFileHandle _file;

    private FileLock(SafeFileHandle file) => _file = file;

    /// <summary>Takes the lock, or answers null when another process has it.</summary>
    public static FileLock? TryTake(string path)
    {
        // Not a FileStream: that takes a lock of its own with the same call, whatever sharing it is told.
        var file = Posix.OpenOrCreate(path);
        int error;
        do
        {
            if (Posix.Flock(file, Posix.LockExclusive | Posix.LockNonBlocking) == 0)
            {
                return new FileLock(file);
            }

            error = Marshal.GetLastPInvokeError();
        }
        while (error == Posix.ErrorInterrupted);

        file.Dispose();
        return error == Posix.ErrorWouldBlock
            ? null
            : throw new IOException($"{path} cannot be locked: {Marshal.GetPInvokeErrorMessage(error)}");
    }

    /// <summary>Takes the lock as soon as its holder lets go; null when <paramref name="patience"/> ran out.</summary>
    public static async Task<FileLock?> TakeAsync(string path, TimeSpan patience, TimeProvider time, CancellationToken cancellation)
    {
        var started = time.GetTimestamp();
        while (true)
        {
            if (TryTake(path) is { } taken)
            {
                return taken;
            }

            if (time.GetElapsedTime(started) >= patience)
            {
                return null;
            }

            // flock cannot be awaited; a blocked thread could not be cancelled.
            await Task.Delay(TimeSpan.FromMilliseconds(20), time, cancellation);
        }
    }

    /// <summary>Writes who holds the lock, for people who look into the file.</summary>
    public void Sign(string text)
    {
        RandomAccess.SetLength(_file, 0);
        RandomAccess.Write(_file, Encoding.UTF8.GetBytes(text), 0);
    }

    public void Dispose() => _file.Dispose();
}
