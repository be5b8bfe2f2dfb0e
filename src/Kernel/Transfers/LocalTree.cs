namespace InterpreterKernel.Kernel.Transfers;

/// <summary>Files and folders of this machine, looked at without following a link.</summary>
internal static class LocalTree
{
    /// <summary>What has to be copied to bring a file or folder into the sandbox.</summary>
    /// <param name="local">A whole path.</param>
    /// <param name="remote">Where it goes: the path of the file, or of the folder.</param>
    /// <param name="bounds">How much it may be.</param>
    /// <param name="withHidden">Whether names that begin with a dot are taken along.</param>
    public static TransferPlan Plan(string local, string remote, TransferBounds bounds, bool withHidden)
    {
        var plan = new TransferPlan(bounds);
        try
        {
            switch (Look(local))
            {
                case FileInfo file:
                    plan.Add(new TransferFile(local, remote, file.Length));
                    break;
                case DirectoryInfo folder:
                    plan.AddFolder(remote);
                    Add(plan, folder, remote, withHidden, TransferPlan.Deepest);
                    break;
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new TransferException("TransferFailed", $"{local} can't be read: {e.Message} Nothing was copied.", e);
        }

        return plan;
    }

    /// <summary>Whether there is a link at this very path.</summary>
    public static bool IsLink(string path) => new FileInfo(path).LinkTarget is not null;

    private static FileSystemInfo Look(string path)
    {
        if (IsLink(path))
        {
            throw new TransferException("TransferRefused", $"{path} is a link; links are not followed. Name what it leads to.");
        }

        return Directory.Exists(path) ? new DirectoryInfo(path)
            : File.Exists(path) ? new FileInfo(path)
            : throw new TransferException("TransferFailed", $"There is no file or folder {path} on this machine.");
    }

    private static void Add(TransferPlan plan, DirectoryInfo folder, string remote, bool withHidden, int deepest)
    {
        if (deepest == 0)
        {
            throw new TransferException("TransferTooLarge", $"{folder.FullName} is nested deeper than {TransferPlan.Deepest} folders. Nothing was copied.");
        }

        foreach (var entry in folder.EnumerateFileSystemInfos().OrderBy(e => e.Name, StringComparer.Ordinal))
        {
            var target = $"{remote.TrimEnd('/')}/{entry.Name}";
            if (!withHidden && entry.Name.StartsWith('.'))
            {
                plan.Hidden++;
            }
            else if (entry.LinkTarget is not null || entry.Attributes.HasFlag(FileAttributes.ReparsePoint))
            {
                plan.Links++;
            }
            else if (entry is DirectoryInfo inner)
            {
                plan.AddFolder(target);
                Add(plan, inner, target, withHidden, deepest - 1);
            }
            else
            {
                plan.Add(new TransferFile(entry.FullName, target, ((FileInfo)entry).Length));
            }
        }
    }
}
