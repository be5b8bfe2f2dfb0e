using System.Buffers.Binary;
using System.Text;
using InterpreterKernel.SandboxHost.Sandboxes;

namespace InterpreterKernel.SandboxHost.Files;

/// <summary>Reads, writes and joins files of a sandbox.</summary>
internal static class FileTasks
{
    private const int Piece = 256 * 1024;
    private const int MaxPath = 16 * 1024;

    /// <summary>Opens a regular file.</summary>
    /// <exception cref="FileTaskException">It can't be read.</exception>
    internal static async Task<FileReading> OpenReadAsync(LocalSandbox sandbox, string path, CancellationToken caller)
    {
        var task = await SandboxTask.StartAsync(sandbox, ["read", path], withInput: true, SandboxTask.DefaultPatience, caller);
        try
        {
            await task.ThrowOnFailureAsync();
            var length = BinaryPrimitives.ReadInt64BigEndian(await task.ReadExactlyAsync(8));
            var changed = BinaryPrimitives.ReadInt64BigEndian(await task.ReadExactlyAsync(8));
            return new FileReading(task, length >= 0 ? length : throw new FileTaskException(5, "its length makes no sense"), EntryText.Time(changed));
        }
        catch
        {
            task.Dispose();
            throw;
        }
    }

    /// <summary>Writes a file, whole or not at all. Gives the path it has in the end.</summary>
    /// <exception cref="FileTaskException">It can't be written.</exception>
    internal static Task<string> WriteAsync(LocalSandbox sandbox, string path, Stream content, CancellationToken cancellation) =>
        WriteAsync(sandbox, path, [], content, cancellation);

    /// <inheritdoc cref="WriteAsync(LocalSandbox, string, Stream, CancellationToken)"/>
    internal static async Task<string> WriteAsync(
        LocalSandbox sandbox, string path, IEnumerable<KeyValuePair<string, string>> metadata, Stream content, CancellationToken cancellation)
    {
        string[] arguments = ["write", path, .. metadata.SelectMany(pair => (string[])[pair.Key, pair.Value])];
        using var task = await SandboxTask.StartAsync(sandbox, arguments, withInput: true, SandboxTask.DefaultPatience, cancellation);

        // Closed without a piece of length 0 (the caller left, the body is damaged), the task gives the file up.
        await CopyAsync(content, task, cancellation);
        task.CloseInput();
        await task.ThrowOnFailureAsync();
        return Encoding.UTF8.GetString(await task.ReadToEndAsync(MaxPath));
    }

    /// <summary>Joins files into one and removes them. Gives the path of the one.</summary>
    /// <exception cref="FileTaskException">It can't be done; nothing has changed, unless a joined file could not be removed.</exception>
    internal static async Task<string> ComposeAsync(LocalSandbox sandbox, string destination, IEnumerable<string> sources, CancellationToken caller) =>
        Encoding.UTF8.GetString(await SandboxTask.RunAsync(sandbox, ["compose", destination, .. sources], MaxPath, SandboxTask.DefaultPatience, caller));

    private static async Task CopyAsync(Stream content, SandboxTask task, CancellationToken cancellation)
    {
        var piece = new byte[4 + Piece];
        while (true)
        {
            var count = await content.ReadAsync(piece.AsMemory(4), cancellation);
            BinaryPrimitives.WriteInt32BigEndian(piece, count);
            try
            {
                await task.WriteAsync(piece.AsMemory(0, 4 + count));
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
}

/// <summary>An open file of a sandbox: its length and age, then a part of its bytes, once.</summary>
internal sealed class FileReading(SandboxTask task, long length, DateTimeOffset changed) : IDisposable
{
    private const int Piece = 64 * 1024;

    internal long Length => length;

    internal DateTimeOffset Changed => changed;

    public void Dispose() => task.Dispose();

    /// <summary>Copies a part of it, never more than that, whatever comes out of the sandbox.</summary>
    /// <exception cref="FileTaskException">It became shorter meanwhile.</exception>
    internal async Task CopyToAsync(Stream destination, long from, long count, CancellationToken cancellation)
    {
        var part = new byte[16];
        BinaryPrimitives.WriteInt64BigEndian(part, from);
        BinaryPrimitives.WriteInt64BigEndian(part.AsSpan(8), count);
        try
        {
            await task.WriteAsync(part);
        }
        catch (IOException e)
        {
            throw new FileTaskException(5, "the task inside the sandbox ended early: " + e.Message);
        }

        var piece = new byte[(int)Math.Min(Piece, Math.Max(count, 1))];
        for (var left = count; left > 0;)
        {
            var got = await task.ReadAsync(piece.AsMemory(0, (int)Math.Min(piece.Length, left)));
            if (got == 0)
            {
                throw new FileTaskException(5, "the file became shorter while it was read");
            }

            await destination.WriteAsync(piece.AsMemory(0, got), cancellation);
            left -= got;
        }
    }
}
