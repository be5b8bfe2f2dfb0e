using InterpreterKernel.Kernel.Configuration;
using InterpreterKernel.Kernel.Transfers;
using InterpreterKernel.Sandbox;

namespace InterpreterKernel.Kernel.Magics;

/// <summary>What magics work on: the kernel around the cell.</summary>
internal interface IMagicPlace
{
    /// <summary>The sandbox of this moment.</summary>
    Sandbox.Sandbox Sandbox { get; }

    /// <summary>How long a cell of this kernel may run; null without limit.</summary>
    TimeSpan? CellTimeout { get; set; }

    /// <summary>Gives the sandbox up for a new one; returns when its kernel answers.</summary>
    /// <exception cref="RemoteUnavailableException">There is none to be had; the old one is gone.</exception>
    Task ReplaceSandboxAsync(CancellationToken cancellationToken);
}

/// <summary>Runs the <c>%sandbox</c> lines of a cell, one after the other. The first that fails ends the cell.</summary>
internal sealed class SandboxMagics(Settings settings, string notebookFolder)
{
    private readonly TransferRules _rules = new(settings.Transfers, notebookFolder);
    private readonly TransferBounds _bounds = new(settings.TransferLimit, settings.TransferFiles);

    /// <summary>Runs them.</summary>
    /// <exception cref="MagicException">A line is not right; then none of them was run.</exception>
    /// <exception cref="TransferException">Something could not be copied.</exception>
    public async Task RunAsync(MagicCell cell, IMagicPlace place)
    {
        MagicLine[] lines = [.. cell.Header.Commands.Select(MagicLine.Parse)];
        foreach (var line in lines)
        {
            cell.Stopped.ThrowIfCancellationRequested();
            switch (line)
            {
                case MagicLine.Help:
                    cell.Print(MagicLine.Usage);
                    break;
                case MagicLine.Info:
                    cell.Print(await new SandboxFacts(place.Sandbox, settings, place.CellTimeout).ReadAsync(cell.Stopped).ConfigureAwait(false));
                    break;
                case MagicLine.Put put:
                    await PutAsync(put, cell, place.Sandbox.Files).ConfigureAwait(false);
                    break;
                case MagicLine.Get get:
                    await GetAsync(get, cell, place.Sandbox.Files).ConfigureAwait(false);
                    break;
                case MagicLine.Timeout timeout:
                    SetTimeout(timeout, cell, place);
                    break;
                case MagicLine.Restart:
                    var old = place.Sandbox.Id;
                    var progress = cell.Progress("A new sandbox");
                    await place.ReplaceSandboxAsync(cell.Stopped).ConfigureAwait(false);
                    progress.Done($"New sandbox {place.Sandbox.Id} instead of {old}: variables and files are gone;");
                    break;
            }
        }
    }

    private static void SetTimeout(MagicLine.Timeout timeout, MagicCell cell, IMagicPlace place)
    {
        if (timeout.IsSet)
        {
            place.CellTimeout = timeout.Limit;
        }

        cell.Print(place.CellTimeout is { } limit
            ? $"Each cell of this kernel may run {Duration.Format(limit)}."
            : "Cells of this kernel may run without limit.");
    }

    private async Task PutAsync(MagicLine.Put put, MagicCell cell, Sandbox.Files files)
    {
        var local = _rules.Resolve(put.Local);
        _rules.Check(local, cell.CanAsk);
        var remote = await RemoteTargetAsync(put.Remote, local, files, cell.Stopped).ConfigureAwait(false);
        var plan = LocalTree.Plan(local, remote, _bounds, _rules.WithHidden);
        await _rules.AllowAsync($"copy {RemoteTree.Shown(local)} ({plan.Size}) into its sandbox", cell.AskAsync).ConfigureAwait(false);
        var progress = cell.Progress($"{RemoteTree.Shown(put.Local)} → sandbox");
        await FolderCopy.PutAsync(files, plan, _bounds, progress.Report, cell.Stopped).ConfigureAwait(false);
        progress.Done($"{RemoteTree.Shown(put.Local)} → sandbox:{RemoteTree.Shown(remote)} ({plan.Size}{plan.LeftOut})");
    }

    private async Task GetAsync(MagicLine.Get get, MagicCell cell, Sandbox.Files files)
    {
        var name = LastName(get.Remote);
        var root = _rules.Resolve(get.Local ?? name ?? throw new MagicException("SandboxMagicError", $"%sandbox get {RemoteTree.Shown(get.Remote)}: say under which name, as in %sandbox get {RemoteTree.Shown(get.Remote)} results"));
        _rules.Check(root, cell.CanAsk);
        var plan = await RemoteTree.PlanAsync(
            files,
            get.Remote,
            type =>
            {
                // As cp: a file goes into a folder that is there, under its own name.
                if (type == FileEntryType.File && name is not null && (Directory.Exists(root) || EndsAsFolder(get.Local)))
                {
                    root = Path.Combine(root, name);
                    _rules.Check(root, cell.CanAsk);
                }

                return root;
            },
            _bounds,
            _rules.WithHidden,
            cell.Stopped).ConfigureAwait(false);
        var replaced = plan.Files.Count(f => File.Exists(f.Local));
        await _rules.AllowAsync(
            $"write {RemoteTree.Shown(root)} ({plan.Size}{(replaced > 0 ? $", replacing {replaced} of yours" : "")}) from its sandbox", cell.AskAsync).ConfigureAwait(false);
        var progress = cell.Progress($"sandbox → {RemoteTree.Shown(root)}");
        await FolderCopy.GetAsync(files, plan, root, _bounds, progress.Report, cell.Stopped).ConfigureAwait(false);
        progress.Done($"sandbox:{RemoteTree.Shown(get.Remote)} → {RemoteTree.Shown(root)} ({plan.Size}{plan.LeftOut})");
    }

    /// <summary>Where a local file or folder goes: a file into a folder that is there, as with cp; a folder as the one named.</summary>
    private static async Task<string> RemoteTargetAsync(string? remote, string local, Sandbox.Files files, CancellationToken ct)
    {
        var name = Path.GetFileName(local);
        if (remote is null)
        {
            return name.Length > 0 ? name : throw new MagicException("SandboxMagicError", $"%sandbox put {RemoteTree.Shown(local)}: say where it goes in the sandbox.");
        }

        if (Directory.Exists(local) && !LocalTree.IsLink(local))
        {
            return remote;
        }

        if (EndsAsFolder(remote))
        {
            return remote + name;
        }

        try
        {
            return (await files.GetInfoAsync(remote, null, ct).ConfigureAwait(false)).Type == FileEntryType.Directory ? $"{remote}/{name}" : remote;
        }
        catch (SandboxException e) when (e.Reason == SandboxFault.NotFound)
        {
            return remote;
        }
    }

    private static bool EndsAsFolder(string? path) => path is not null && (path.EndsWith('/') || path.EndsWith(Path.DirectorySeparatorChar));

    /// <summary>The last name of a path in the sandbox; null when it has none that can be used here.</summary>
    private static string? LastName(string remote)
    {
        var trimmed = remote.TrimEnd('/');
        var name = trimmed[(trimmed.LastIndexOf('/') + 1)..];
        return name != "~" && RemoteTree.IsUsable(name) ? name : null;
    }
}
