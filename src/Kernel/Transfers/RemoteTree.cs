using System.Buffers;
using InterpreterKernel.Sandbox;

namespace InterpreterKernel.Kernel.Transfers;

/// <summary>
/// Files and folders of a sandbox. All that it says of them is hostile: names become parts of paths on this machine only one by one,
/// and only those that can't lead anywhere else.
/// </summary>
internal static class RemoteTree
{
    private const int LongestName = 255;

    private static readonly SearchValues<char> s_windowsMeanings = SearchValues.Create("\\:*?\"<>|");

    // Names that Windows takes for devices, with any ending.
    private static readonly string[] s_devices = ["CON", "PRN", "AUX", "NUL", "COM0", "LPT0"];

    /// <summary>What has to be copied to bring a file or folder out of the sandbox.</summary>
    /// <param name="files">The sandbox's files.</param>
    /// <param name="remote">Which one.</param>
    /// <param name="local">Where it goes, a whole path: of the file, or of the folder; told what it is.</param>
    /// <param name="bounds">How much it may be.</param>
    /// <param name="withHidden">Whether names that begin with a dot are taken along.</param>
    /// <param name="ct">Ends it.</param>
    public static async Task<TransferPlan> PlanAsync(
        Sandbox.Files files, string remote, Func<FileEntryType, string> local, TransferBounds bounds, bool withHidden, CancellationToken ct)
    {
        FileEntry top;
        try
        {
            top = await files.GetInfoAsync(remote, null, ct).ConfigureAwait(false);
        }
        catch (SandboxException e) when (e.Reason == SandboxFault.NotFound)
        {
            throw new TransferException("TransferFailed", $"There is no file or folder {Shown(remote)} in the sandbox.", e);
        }

        if (top.SymlinkTarget is { Length: > 0 })
        {
            throw new TransferException("TransferRefused", $"{Shown(remote)} is a link in the sandbox; links are not followed. Name what it leads to.");
        }

        var plan = new TransferPlan(bounds);
        switch (top.Type)
        {
            case FileEntryType.File:
                plan.Add(new TransferFile(local(top.Type), remote, Math.Max(0, top.Size)));
                break;
            case FileEntryType.Directory:
                var folder = local(top.Type);
                plan.AddFolder(folder);
                await AddAsync(plan, files, remote, folder, withHidden, TransferPlan.Deepest, ct).ConfigureAwait(false);
                break;
            default:
                throw new TransferException("TransferRefused", $"{Shown(remote)} is neither a file nor a folder.");
        }

        return plan;
    }

    /// <summary>Whether a name of the sandbox may be used as one on this machine: it stays one name, in the folder where it is put.</summary>
    public static bool IsUsable(string name)
    {
        if (name.Length is 0 or > LongestName || name is "." or ".." || name.AsSpan().ContainsAny('/', '\0'))
        {
            return false;
        }

        foreach (var c in name)
        {
            // Line breaks and the like would only be there to mislead who reads the list.
            if (char.IsControl(c))
            {
                return false;
            }
        }

        return !OperatingSystem.IsWindows() || IsUsableOnWindows(name);
    }

    /// <summary>The same for Windows, where more means something.</summary>
    public static bool IsUsableOnWindows(string name)
    {
        var stem = name.Split('.')[0].TrimEnd(' ');
        var device = stem.Length == 4 && char.IsAsciiDigit(stem[3]) ? stem[..3] + "0" : stem;
        return !name.AsSpan().ContainsAny(s_windowsMeanings)
            && !name.EndsWith('.') && !name.EndsWith(' ')
            && !s_devices.Contains(device, StringComparer.OrdinalIgnoreCase);
    }

    /// <summary>A path as it can be shown: short, and without what a terminal would take for an order.</summary>
    public static string Shown(string path)
    {
        var text = new string([.. path.Select(c => char.IsControl(c) ? '?' : c)]);
        return text.Length > 200 ? text[..200] + "…" : text;
    }

    private static async Task AddAsync(
        TransferPlan plan, Sandbox.Files files, string remote, string local, bool withHidden, int deepest, CancellationToken ct)
    {
        if (deepest == 0)
        {
            throw new TransferException("TransferTooLarge", $"{Shown(remote)} is nested deeper than {TransferPlan.Deepest} folders. Nothing was copied.");
        }

        foreach (var entry in (await files.ListAsync(remote, 1, null, ct).ConfigureAwait(false)).OrderBy(e => e.Name, StringComparer.Ordinal))
        {
            if (!IsUsable(entry.Name))
            {
                plan.Unusable++;
            }
            else if (!withHidden && entry.Name.StartsWith('.'))
            {
                plan.Hidden++;
            }
            else if (entry.SymlinkTarget is { Length: > 0 } || entry.Type == FileEntryType.Other)
            {
                plan.Links++;
            }
            else
            {
                var inner = $"{remote.TrimEnd('/')}/{entry.Name}";
                var target = Path.Combine(local, entry.Name);
                if (entry.Type == FileEntryType.Directory)
                {
                    plan.AddFolder(target);
                    await AddAsync(plan, files, inner, target, withHidden, deepest - 1, ct).ConfigureAwait(false);
                }
                else
                {
                    plan.Add(new TransferFile(target, inner, Math.Max(0, entry.Size)));
                }
            }
        }
    }
}
