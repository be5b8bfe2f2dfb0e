using System.Buffers.Binary;
using System.Text;
using InterpreterKernel.Protocol.Envd;
using InterpreterKernel.SandboxHost.Sandboxes;

namespace InterpreterKernel.SandboxHost.Files;

/// <summary>
/// Changes below a directory of a sandbox, as a task inside tells them. Layout of an event (watch.py says the same):
/// <code>
/// bytes 0..3  length of what follows, big-endian
/// byte 4      type, as in filesystem.proto; 0: the watch broke off, and the name is the reason
/// then        name, ended by a zero byte | the entry as <see cref="EntryText"/> has it, or nothing
/// </code>
/// </summary>
internal sealed class DirectoryWatch : IDisposable
{
    // Two paths and a target, at 4 KiB each, and metadata.
    private const int MaxEvent = 128 * 1024;

    private readonly SandboxTask _task;

    private DirectoryWatch(SandboxTask task)
    {
        _task = task;
    }

    /// <summary>Starts to watch; from now on nothing is missed.</summary>
    /// <exception cref="FileTaskException">It can't be watched.</exception>
    internal static async Task<DirectoryWatch> StartAsync(LocalSandbox sandbox, WatchDirRequest request, CancellationToken caller)
    {
        string[] arguments = ["watch", LocalSandbox.Resolve(request.Path), request.Recursive ? "1" : "0", request.IncludeEntry ? "1" : "0"];
        var task = await SandboxTask.StartAsync(sandbox, arguments, withInput: false, SandboxTask.DefaultPatience, caller);
        try
        {
            await task.ThrowOnFailureAsync();
            return new DirectoryWatch(task);
        }
        catch
        {
            task.Dispose();
            throw;
        }
    }

    public void Dispose() => _task.Dispose();

    /// <summary>The next change, whenever it comes.</summary>
    /// <exception cref="FileTaskException">The watch broke off.</exception>
    internal async Task<FilesystemEvent> NextAsync()
    {
        var head = new byte[4];
        if (!await _task.ReadNextAsync(head))
        {
            throw new FileTaskException(5, "watcher error: the task inside the sandbox ended");
        }

        var length = BinaryPrimitives.ReadUInt32BigEndian(head);
        if (length is < 2 or > MaxEvent)
        {
            throw new FileTaskException(5, $"watcher error: an event of {length} bytes");
        }

        var body = await _task.ReadExactlyAsync((int)length);
        var end = body.AsSpan(1).IndexOf((byte)0) + 1;
        if (end == 0)
        {
            throw new FileTaskException(5, "watcher error: an event without a name");
        }

        var name = Encoding.UTF8.GetString(body.AsSpan(1, end - 1));
        if (body[0] is 0 or > (byte)EventType.Chmod)
        {
            throw new FileTaskException(5, "watcher error: " + name);
        }

        var change = new FilesystemEvent { Name = name, Type = (EventType)body[0] };
        if (EntryText.ParseAll(body.AsMemory(end + 1)).FirstOrDefault() is { } entry)
        {
            change.Entry = entry;
        }

        return change;
    }
}
