namespace InterpreterKernel.Kernel.Transfers;

/// <summary>
/// Writing what a sandbox has made onto this machine. Each path is checked again where it is written, whoever made it: it stays under the
/// target's root, and no link is followed on the way. A file replaces another as a whole.
/// </summary>
internal static class LocalTarget
{
    private const int Piece = 128 * 1024;

    /// <summary>Makes a folder under the root, and those between.</summary>
    public static void MakeFolder(string root, string folder)
    {
        CheckUnder(root, folder);
        if (LocalTree.IsLink(root))
        {
            throw Link(root);
        }

        Directory.CreateDirectory(root);
        var path = root;
        foreach (var part in Parts(root, folder))
        {
            path = Path.Combine(path, part);
            if (LocalTree.IsLink(path))
            {
                throw Link(path);
            }

            Directory.CreateDirectory(path);
        }
    }

    /// <summary>Writes a file under the root: beside its place first, then renamed.</summary>
    public static async Task WriteAsync(string root, string path, Stream source, Action<int> count, CancellationToken ct)
    {
        CheckUnder(root, path);
        var folder = Path.GetDirectoryName(path)!;
        if (path != root)
        {
            MakeFolder(root, folder);
        }
        else
        {
            Directory.CreateDirectory(folder);
        }

        if (LocalTree.IsLink(path))
        {
            throw Link(path);
        }

        if (Directory.Exists(path))
        {
            throw new TransferException("TransferRefused", $"{path} is a folder on this machine and a file in the sandbox; it was left as it is.");
        }

        var beside = Path.Combine(folder, $".interpreter-kernel-{Guid.NewGuid():n}.part");
        try
        {
            // CreateNew: never through a link that somebody puts there.
            var target = new FileStream(beside, FileMode.CreateNew, FileAccess.Write, FileShare.None, bufferSize: 0, FileOptions.Asynchronous);
            await using (target.ConfigureAwait(false))
            {
                var buffer = new byte[Piece];
                int read;
                while ((read = await source.ReadAsync(buffer, ct).ConfigureAwait(false)) > 0)
                {
                    count(read);
                    await target.WriteAsync(buffer.AsMemory(0, read), ct).ConfigureAwait(false);
                }
            }

            File.Move(beside, path, overwrite: true);
        }
        finally
        {
            File.Delete(beside);
        }
    }

    private static IEnumerable<string> Parts(string root, string path) =>
        Path.GetRelativePath(root, path).Split(Path.DirectorySeparatorChar).Where(p => p != ".");

    private static void CheckUnder(string root, string path)
    {
        if (!Path.IsPathFullyQualified(root) || Path.GetFullPath(path) != path
            || (path != root && !path.StartsWith(root.TrimEnd(Path.DirectorySeparatorChar) + Path.DirectorySeparatorChar, StringComparison.Ordinal)))
        {
            throw new TransferException("TransferRefused", $"{path} is not under {root}; nothing was written there.");
        }
    }

    private static TransferException Link(string path) => new(
        "TransferRefused", $"{path} is a link on this machine; nothing is written through links. Name what it leads to, or remove it.");
}
