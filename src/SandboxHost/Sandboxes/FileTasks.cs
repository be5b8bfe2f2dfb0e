using System.Buffers.Binary;
using System.Text;
using InterpreterKernel.SandboxHost.Native;

namespace InterpreterKernel.SandboxHost.Sandboxes;

/// <summary>
/// Reads and writes files of a sandbox. The work is done by a process inside it, as its user, and only bytes come out
/// through a pipe: the host itself never opens, follows or even names a path of the sandbox, so there is nothing to
/// trick it with (links, <c>..</c>, devices, FIFOs, races).
/// </summary>
internal static class FileTasks
{
    private const int Piece = 256 * 1024;
    private const int MaxText = 16 * 1024;

    /// <summary>Opens a regular file.</summary>
    /// <exception cref="FileTaskException">It can't be read.</exception>
    internal static async Task<FileReading> OpenReadAsync(LocalSandbox sandbox, string path)
    {
        using var answer = sandbox.Container.CreatePipe();
        await sandbox.Container.Agent.StartTaskAsync(["read", path], [answer.Write]);
        answer.Write.Dispose();
        var reading = new PolledDescriptor(sandbox.Poller, answer.TakeRead(), forWriting: false);
        try
        {
            await ThrowOnFailureAsync(reading);
            var length = BinaryPrimitives.ReadInt64BigEndian(await ReadExactlyAsync(reading, 8));
            return new FileReading(reading, length >= 0 ? length : throw new FileTaskException(5, "its length makes no sense"));
        }
        catch
        {
            reading.Dispose();
            throw;
        }
    }

    /// <summary>Writes a file, whole or not at all. Gives the path it has in the end.</summary>
    /// <exception cref="FileTaskException">It can't be written.</exception>
    internal static async Task<string> WriteAsync(LocalSandbox sandbox, string path, Stream content, CancellationToken cancellation)
    {
        using var data = sandbox.Container.CreatePipe();
        using var answer = sandbox.Container.CreatePipe();
        await sandbox.Container.Agent.StartTaskAsync(["write", path], [data.Read, answer.Write]);
        data.Read.Dispose();
        answer.Write.Dispose();
        using var reading = new PolledDescriptor(sandbox.Poller, answer.TakeRead(), forWriting: false);

        // Closed without a piece of length 0 (the caller left, the body is damaged), the task gives the file up.
        using (var writing = new PolledDescriptor(sandbox.Poller, data.TakeWrite(), forWriting: true))
        {
            await CopyAsync(content, writing, cancellation);
        }

        await ThrowOnFailureAsync(reading);
        return Encoding.UTF8.GetString(await ReadToEndAsync(reading));
    }

    /// <summary>Reads exactly as many bytes.</summary>
    internal static async Task<byte[]> ReadExactlyAsync(PolledDescriptor source, int length)
    {
        var bytes = new byte[length];
        var filled = 0;
        while (filled < length)
        {
            var count = await source.ReadAsync(bytes.AsMemory(filled));
            filled += count > 0 ? count : throw new FileTaskException(5, "the task inside the sandbox ended early");
        }

        return bytes;
    }

    private static async Task CopyAsync(Stream content, PolledDescriptor writing, CancellationToken cancellation)
    {
        var piece = new byte[4 + Piece];
        while (true)
        {
            var count = await content.ReadAsync(piece.AsMemory(4), cancellation);
            BinaryPrimitives.WriteInt32BigEndian(piece, count);
            try
            {
                await writing.WriteAsync(piece.AsMemory(0, 4 + count));
            }
            catch (IOException)
            {
                return; // the task ended, and its answer says why
            }

            if (count == 0)
            {
                return;
            }
        }
    }

    /// <summary>Answers begin with 0, or with 1, four bytes of error number and a text.</summary>
    private static async Task ThrowOnFailureAsync(PolledDescriptor reading)
    {
        if ((await ReadExactlyAsync(reading, 1))[0] != 0)
        {
            var error = BinaryPrimitives.ReadInt32BigEndian(await ReadExactlyAsync(reading, 4));
            throw new FileTaskException(error, Encoding.UTF8.GetString(await ReadToEndAsync(reading)));
        }
    }

    private static async Task<byte[]> ReadToEndAsync(PolledDescriptor reading)
    {
        var text = new byte[MaxText];
        var filled = 0;
        while (filled < text.Length && await reading.ReadAsync(text.AsMemory(filled)) is > 0 and var count)
        {
            filled += count;
        }

        return text[..filled];
    }
}

/// <summary>An open file of a sandbox: its length, then its bytes, once.</summary>
internal sealed class FileReading(PolledDescriptor source, long length) : IDisposable
{
    private const int Piece = 64 * 1024;

    internal long Length => length;

    public void Dispose() => source.Dispose();

    /// <summary>Copies all of it, never more than its length, whatever comes out of the sandbox.</summary>
    /// <exception cref="FileTaskException">It became shorter meanwhile.</exception>
    internal async Task CopyToAsync(Stream destination, CancellationToken cancellation)
    {
        var piece = new byte[(int)Math.Min(Piece, Math.Max(length, 1))];
        for (var left = length; left > 0;)
        {
            var count = await source.ReadAsync(piece.AsMemory(0, (int)Math.Min(piece.Length, left)));
            if (count == 0)
            {
                throw new FileTaskException(5, "the file became shorter while it was read");
            }

            await destination.WriteAsync(piece.AsMemory(0, count), cancellation);
            left -= count;
        }
    }
}

/// <summary>A file task failed inside the sandbox.</summary>
internal sealed class FileTaskException(int error, string message) : Exception(message)
{
    /// <summary>The error number (errno) it failed with.</summary>
    internal int Error { get; } = error;
}
