namespace InterpreterKernel.Kernel.Transfers;

/// <summary>What magics may copy: the setting <c>transfers</c>.</summary>
internal enum TransferMode
{
    /// <summary>What the user allows when asked.</summary>
    Ask,

    /// <summary>Without asking: what is in the notebook's folder and not hidden; nothing else.</summary>
    Notebook,

    /// <summary>Without asking: everything that the user can read and write.</summary>
    Any,

    /// <summary>Nothing.</summary>
    None,
}

/// <summary>
/// Who may copy what with <c>%sandbox put</c> and <c>get</c>. The magics are part of the notebook, and a notebook may be anybody's: without a rule,
/// one line of it could read the user's keys or replace his shell's start file, and the sandbox were for nothing.
/// </summary>
internal sealed class TransferRules(TransferMode mode, string notebookFolder)
{
    private readonly string _folder = Path.GetFullPath(notebookFolder);
    private bool _allowed = mode == TransferMode.Any;

    /// <summary>Whether hidden files in folders are taken along.</summary>
    public bool WithHidden => mode != TransferMode.Notebook;

    /// <summary>A path of a magic as a whole one: relative ones start at the notebook's folder, <c>~</c> at the user's home.</summary>
    public string Resolve(string path)
    {
        if (path == "~" || path.StartsWith("~/", StringComparison.Ordinal))
        {
            path = Path.Join(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), path[1..]);
        }

        return Path.TrimEndingDirectorySeparator(Path.GetFullPath(path, _folder));
    }

    /// <summary>Refuses what is not allowed in any case; before anything is looked at, so that not even its existence is told.</summary>
    /// <param name="local">A whole path.</param>
    /// <param name="canAsk">Whether there is somebody to be asked.</param>
    public void Check(string local, bool canAsk)
    {
        switch (mode)
        {
            case TransferMode.Ask when !_allowed && !canAsk:
                throw Nobody(local);
            case TransferMode.None:
                throw new TransferException("TransferRefused", "Copying between this machine and the sandbox is turned off (setting transfers).");
            case TransferMode.Notebook when Fault(local) is { } fault:
                throw new TransferException("TransferRefused", $"{local} {fault}; this kernel copies only within the notebook's folder {_folder} (setting transfers: ask, notebook or any).");
        }
    }

    /// <summary>Asks the user where that is needed.</summary>
    /// <param name="what">What is going to be done, as the end of "Let this notebook …".</param>
    /// <param name="ask">Asks.</param>
    public async Task AllowAsync(string what, Func<string, Task<string>> ask)
    {
        if (_allowed || mode == TransferMode.Notebook)
        {
            return;
        }

        var answer = await ask($"Let this notebook {what}? [y]es, [a]lways in this kernel, [N]o: ").ConfigureAwait(false);
        switch (answer.Trim().ToUpperInvariant())
        {
            case "A" or "ALWAYS":
                _allowed = true;
                return;
            case "Y" or "YES":
                return;
            default:
                throw new TransferException("TransferRefused", "Nothing was copied, because you did not allow it.");
        }
    }

    private static TransferException Nobody(string local) => new(
        "TransferRefused",
        $"{RemoteTree.Shown(local)} was not touched: copying takes your leave, and there is nobody to ask in this run. Give it beforehand with the setting transfers: INTERPRETER_KERNEL_TRANSFERS=notebook for what is in the notebook's folder, any for everything.");

    private string? Fault(string local)
    {
        var relative = Path.GetRelativePath(_folder, local);
        if (relative == ".." || relative.StartsWith(".." + Path.DirectorySeparatorChar, StringComparison.Ordinal) || Path.IsPathRooted(relative))
        {
            return "is elsewhere";
        }

        var path = _folder;
        foreach (var part in relative.Split(Path.DirectorySeparatorChar).Where(p => p != "."))
        {
            if (part.StartsWith('.'))
            {
                return "is hidden";
            }

            path = Path.Combine(path, part);
            if (LocalTree.IsLink(path))
            {
                return "leads over a link";
            }
        }

        return null;
    }
}
