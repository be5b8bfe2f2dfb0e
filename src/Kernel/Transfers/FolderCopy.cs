using InterpreterKernel.Kernel.Configuration;
using InterpreterKernel.Sandbox;

namespace InterpreterKernel.Kernel.Transfers;

/// <summary>Carries a plan out, a few files at a time, and says how far it is.</summary>
internal sealed class FolderCopy
{
    private const int AtOnce = 4;
    private const int Piece = 128 * 1024;

    private readonly Sandbox.Files _files;
    private readonly TransferPlan _plan;
    private readonly TransferBounds _bounds;
    private readonly Action<string> _progress;
    private long _bytes;
    private int _done;

    private FolderCopy(Sandbox.Files files, TransferPlan plan, TransferBounds bounds, Action<string> progress)
    {
        _files = files;
        _plan = plan;
        _bounds = bounds;
        _progress = progress;
    }

    /// <summary>Brings in. A file arrives whole or not at all; those before a failure stay.</summary>
    public static Task PutAsync(Sandbox.Files files, TransferPlan plan, TransferBounds bounds, Action<string> progress, CancellationToken ct) =>
        new FolderCopy(files, plan, bounds, progress).RunAsync(
            folder => files.MakeDirectoryAsync(folder, null, ct),
            (copy, file, token) => copy.PutOneAsync(file, token),
            ct);

    /// <summary>Brings out, under <paramref name="root"/>: nothing is written through a link, and nothing outside of it.</summary>
    public static Task GetAsync(Sandbox.Files files, TransferPlan plan, string root, TransferBounds bounds, Action<string> progress, CancellationToken ct) =>
        new FolderCopy(files, plan, bounds, progress).RunAsync(
            folder =>
            {
                LocalTarget.MakeFolder(root, folder);
                return Task.CompletedTask;
            },
            (copy, file, token) => copy.GetOneAsync(root, file, token),
            ct);

    private async Task RunAsync(Func<string, Task> makeFolder, Func<FolderCopy, TransferFile, CancellationToken, Task> copyOne, CancellationToken ct)
    {
        try
        {
            foreach (var folder in _plan.Folders)
            {
                ct.ThrowIfCancellationRequested();
                await makeFolder(folder).ConfigureAwait(false);
            }

            await Parallel.ForEachAsync(
                _plan.Files,
                new ParallelOptions { MaxDegreeOfParallelism = AtOnce, CancellationToken = ct },
                async (file, token) =>
                {
                    await copyOne(this, file, token).ConfigureAwait(false);
                    Interlocked.Increment(ref _done);
                    Tell();
                }).ConfigureAwait(false);
        }
        catch (IOException e) when (e.InnerException is TransferException own)
        {
            throw new TransferException(own.Name, own.Message, e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or (SandboxException and not SandboxLostException))
        {
            throw new TransferException("TransferFailed", $"{e.Message} {_done} of {_plan.Files.Count} files were copied before that.", e);
        }
    }

    private async Task PutOneAsync(TransferFile file, CancellationToken ct)
    {
        if (file.Size == 0)
        {
            // Never opened: a pipe or a device has this size, too, and opening one can wait for ever.
            await _files.WriteAsync(file.Remote, ReadOnlyMemory<byte>.Empty, null, ct).ConfigureAwait(false);
            return;
        }

        var source = new FileStream(file.Local, FileMode.Open, FileAccess.Read, FileShare.ReadWrite, Piece, FileOptions.Asynchronous | FileOptions.SequentialScan);
        await using var ownership = source.ConfigureAwait(false);
        if (LocalTree.IsLink(file.Local))
        {
            throw new TransferException("TransferRefused", $"{file.Local} has become a link while it was copied; links are not followed.");
        }

        await _files.WriteAsync(file.Remote, new CountedStream(source, Count), null, ct).ConfigureAwait(false);
    }

    private async Task GetOneAsync(string root, TransferFile file, CancellationToken ct)
    {
        var source = await _files.ReadStreamAsync(file.Remote, null, ct).ConfigureAwait(false);
        await using var ownership = source.ConfigureAwait(false);
        await LocalTarget.WriteAsync(root, file.Local, source, Count, ct).ConfigureAwait(false);
    }

    private void Count(int bytes)
    {
        if (Interlocked.Add(ref _bytes, bytes) > _bounds.Bytes)
        {
            // It has grown since it was looked at, or lied.
            throw TransferPlan.TooLarge(_bounds);
        }

        Tell();
    }

    private void Tell() => _progress(
        $"{Volatile.Read(ref _done)} of {_plan.Files.Count} files, {ByteSize.Format(Interlocked.Read(ref _bytes))} of {ByteSize.Format(_plan.Bytes)}");
}
