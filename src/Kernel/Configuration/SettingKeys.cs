using System.Globalization;
using InterpreterKernel.Kernel.Timeouts;
using InterpreterKernel.Kernel.Transfers;

namespace InterpreterKernel.Kernel.Configuration;

/// <summary>One thing that can be set, and how its text is read.</summary>
/// <param name="Name">The key in a file, in camel case.</param>
/// <param name="Help">What it does and its default, for <c>--help</c> and the reference.</param>
/// <param name="Apply">Takes the text over; null when the text is not right.</param>
/// <param name="Expected">What would be right, for the fault's text.</param>
internal sealed record SettingKey(string Name, string Help, Func<Settings, string, Settings?> Apply, string Expected)
{
    /// <summary>The command line's spelling: <c>--request-timeout</c>.</summary>
    public string Option { get; } = "--" + Separate(Name, '-').ToLowerInvariant();

    /// <summary>The environment's spelling: <c>INTERPRETER_KERNEL_REQUEST_TIMEOUT</c>.</summary>
    public string Variable { get; } = "INTERPRETER_KERNEL_" + Separate(Name, '_').ToUpperInvariant();

    private static string Separate(string name, char by) =>
        string.Concat(name.Select(c => char.IsUpper(c) ? $"{by}{c}" : c.ToString()));
}

/// <summary>The table of all keys: what one source may set, every source may set, under the same name.</summary>
internal static class SettingKeys
{
    /// <summary>The key for the limit of each cell, which errors name.</summary>
    public const string CellTimeout = "cellTimeout";

    /// <summary>The key for the limit of all cells together.</summary>
    public const string NotebookTimeout = "notebookTimeout";

    /// <summary>The key for the limit of a kernel's start.</summary>
    public const string StartTimeout = "startTimeout";

    private const string DurationExpected = "a duration such as 30s, 5m or 1h";
    private const string SizeExpected = "a size such as 512M or 2G";

    /// <summary>All keys, in the order of the reference.</summary>
    public static IReadOnlyList<SettingKey> All { get; } =
    [
        new("kernel", "kernelspec started inside the sandbox (python3)",
            (s, v) => IsName(v) ? s with { Kernel = v } : null, "the name of a kernelspec: letters, digits, '.', '_' and '-'"),
        new("template", "template that sandboxes are made from (code-interpreter-v1)",
            (s, v) => v.Length is > 0 and <= 256 ? s with { Template = v } : null, "the name or id of a template"),
        new("limit", "how many sandboxes may be held at once (20)",
            (s, v) => TryInt(v, 1, 100_000, out var n) ? s with { Limit = n } : null, "a whole number of at least 1"),
        new("wait", "how long to wait when all sandboxes are in use: forever, never, or a duration (forever)",
            (s, v) => v switch
            {
                "forever" => s with { Wait = null },
                "never" => s with { Wait = TimeSpan.Zero },
                _ => Duration.TryParse(v, out var d) ? s with { Wait = d } : null,
            },
            "forever, never, or " + DurationExpected),
        new("pipInstall", "install ipykernel in a sandbox whose template lacks it (false)",
            (s, v) => bool.TryParse(v, out var b) ? s with { PipInstall = b } : null, "true or false"),
        new("spares", "embedded: sandboxes kept ready, with a kernel started, for the next notebook (1)",
            (s, v) => TryInt(v, 0, 4, out var n) ? s with { Spares = n } : null, "a whole number from 0 to 4"),
        new("remoteSpares", "the same with a remote service, where they take slots of the account (0)",
            (s, v) => TryInt(v, 0, 4, out var n) ? s with { RemoteSpares = n } : null, "a whole number from 0 to 4"),
        new("lifetime", "lease of a sandbox, renewed while its kernel lives (60s)",
            (s, v) => Duration.TryParse(v, out var d) && d >= TimeSpan.FromSeconds(15) ? s with { Lifetime = d } : null,
            DurationExpected + ", at least 15s"),
        new("requestTimeout", "how long one call to the sandbox service may take (60s)",
            (s, v) => Duration.TryParse(v, out var d) ? s with { RequestTimeout = d } : null, DurationExpected),
        new(StartTimeout, "how long a kernel may take to start in its sandbox (60s)",
            (s, v) => Duration.TryParse(v, out var d) ? s with { StartTimeout = d } : null, DurationExpected),
        new(CellTimeout, "how long a cell may run before it is stopped (none)",
            (s, v) => v == Duration.None ? s with { CellTimeout = null } : Duration.TryParse(v, out var d) ? s with { CellTimeout = d } : null,
            DurationExpected + ", or none"),
        new(NotebookTimeout, "how long all cells of a notebook together may run (none)",
            (s, v) => v == Duration.None ? s with { NotebookTimeout = null } : Duration.TryParse(v, out var d) ? s with { NotebookTimeout = d } : null,
            DurationExpected + ", or none"),
        new("timeoutGraces", "between interrupt, second interrupt, kill of the kernel and new sandbox (2s,2s,5s)",
            (s, v) => TryGraces(v, out var graces) ? s with { TimeoutGraces = graces } : null, "three durations such as 2s,2s,5s"),
        new("continueAfterTimeout", "whether waiting cells run although a timeout lost the variables (false)",
            (s, v) => bool.TryParse(v, out var b) ? s with { ContinueAfterTimeout = b } : null, "true or false"),
        new("upload", "folder copied into the sandbox's home before the first cell (none)",
            (s, v) => IsFolder(v) ? s with { Upload = v } : null, "a path of a folder, relative to the notebook's folder or absolute"),
        new("download", "folder copied from the sandbox's home at the end (none)",
            (s, v) => IsFolder(v) ? s with { Download = v } : null, "a path of a folder, relative to the notebook's folder or absolute"),
        new("transfers", "what %sandbox put and get may copy: ask, notebook (its folder, without asking), any, none (ask)",
            (s, v) => TryTransfers(v) is { } mode ? s with { Transfers = mode } : null, "ask, notebook, any or none"),
        new("transferLimit", "how many bytes one transfer may be (1G)",
            (s, v) => ByteSize.TryParse(v, out var n) ? s with { TransferLimit = n } : null, SizeExpected),
        new("transferFiles", "how many files and folders one transfer may be (10000)",
            (s, v) => TryInt(v, 1, 10_000_000, out var n) ? s with { TransferFiles = n } : null, "a whole number of at least 1"),
        new("python", "embedded: interpreter whose prefix is the template (the first with ipykernel)",
            (s, v) => Path.IsPathRooted(v) ? s with { Python = v } : null, "an absolute path of a Python interpreter"),
        new("rootFilesystem", "embedded: a directory with a root file system instead of the host's own",
            (s, v) => Path.IsPathRooted(v) ? s with { RootFilesystem = v } : null, "an absolute path of a directory"),
        new("memory", "embedded: memory of a sandbox (2G)",
            (s, v) => ByteSize.TryParse(v, out var n) && n >= 64L << 20 ? s with { Memory = n } : null, SizeExpected + ", at least 64M"),
        new("disk", "embedded: size of a sandbox's home folder (1G)",
            (s, v) => ByteSize.TryParse(v, out var n) && n >= 1L << 20 ? s with { Disk = n } : null, SizeExpected + ", at least 1M"),
        new("cpus", "embedded: processors a sandbox may use (2)",
            (s, v) => double.TryParse(v, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var n) && n is >= 0.05 and <= 1024
                ? s with { Cpus = n }
                : null,
            "a number such as 0.5 or 2"),
        new("pids", "embedded: processes and threads of a sandbox (512)",
            (s, v) => TryInt(v, 16, 1_000_000, out var n) ? s with { Pids = n } : null, "a whole number of at least 16"),
        new("network", "embedded: whether sandboxes reach the network (false)",
            (s, v) => bool.TryParse(v, out var b) ? s with { Network = b } : null, "true or false"),
        new("unenforced", "embedded: limits to do without where this machine can't enforce them (none)",
            (s, v) => s with { Unenforced = v.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries) },
            "a list such as memory,pids,cpu"),
    ];

    private static bool TryInt(string text, int least, int most, out int value) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out value) && value >= least && value <= most;

    private static bool TryGraces(string text, out TimeoutGraces graces)
    {
        graces = default;
        if (text.Split(',') is not [var interrupt, var second, var kill]
            || !Duration.TryParse(interrupt, out var a) || !Duration.TryParse(second, out var b) || !Duration.TryParse(kill, out var c))
        {
            return false;
        }

        graces = new TimeoutGraces(a, b, c);
        return true;
    }

    private static TransferMode? TryTransfers(string text) => text switch
    {
        "ask" => TransferMode.Ask,
        "notebook" => TransferMode.Notebook,
        "any" => TransferMode.Any,
        "none" => TransferMode.None,
        _ => null,
    };

    // Its last name is the one in the sandbox.
    private static bool IsFolder(string text) =>
        text.Length <= 4096 && !text.Contains('\0', StringComparison.Ordinal) && RemoteTree.IsUsable(FolderName(text));

    /// <summary>The last name of a folder's path: the one that it has in the sandbox.</summary>
    public static string FolderName(string path) => Path.GetFileName(Path.TrimEndingDirectorySeparator(path));

    private static bool IsName(string text) =>
        text.Length is > 0 and <= 128 && text.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '_' or '-');
}
