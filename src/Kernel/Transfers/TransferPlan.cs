using InterpreterKernel.Kernel.Configuration;

namespace InterpreterKernel.Kernel.Transfers;

/// <summary>How much one transfer may be; what is over it is refused before the first byte, and while bytes come.</summary>
/// <param name="Bytes">All files together.</param>
/// <param name="Files">How many files and folders.</param>
internal sealed record TransferBounds(long Bytes, int Files);

/// <summary>One file of a transfer.</summary>
/// <param name="Local">Its path on this machine.</param>
/// <param name="Remote">Its path in the sandbox.</param>
/// <param name="Size">Its size when it was looked at.</param>
internal sealed record TransferFile(string Local, string Remote, long Size);

/// <summary>What a transfer is going to do: looked up as a whole first, so that it can be refused, or asked about, as a whole.</summary>
internal sealed class TransferPlan(TransferBounds bounds)
{
    private readonly List<TransferFile> _files = [];
    private readonly List<string> _folders = [];

    /// <summary>How deep folders may be nested.</summary>
    public const int Deepest = 64;

    /// <summary>The files.</summary>
    public IReadOnlyList<TransferFile> Files => _files;

    /// <summary>Folders to be made where the files go, those above first.</summary>
    public IReadOnlyList<string> Folders => _folders;

    /// <summary>All sizes together.</summary>
    public long Bytes { get; private set; }

    /// <summary>Links, and whatever is neither a file nor a folder, which are left out.</summary>
    public int Links { get; set; }

    /// <summary>Hidden names, where those are left out.</summary>
    public int Hidden { get; set; }

    /// <summary>Names that can't be used on this machine.</summary>
    public int Unusable { get; set; }

    /// <summary>For people: how many files and how much.</summary>
    public string Size => $"{_files.Count} {(_files.Count == 1 ? "file" : "files")}, {ByteSize.Format(Bytes)}";

    /// <summary>For people: what is left out; empty when nothing is.</summary>
    public string LeftOut
    {
        get
        {
            List<string> what = [];
            Count(what, Links, "link", "links");
            Count(what, Hidden, "hidden name", "hidden names");
            Count(what, Unusable, "name that can't be used here", "names that can't be used here");
            return what.Count == 0 ? "" : $"; left out: {string.Join(", ", what)}";
        }
    }

    /// <summary>Adds a file.</summary>
    public void Add(TransferFile file)
    {
        _files.Add(file);
        Bytes += file.Size;
        if (Bytes > bounds.Bytes || Bytes < 0)
        {
            throw TooLarge(bounds);
        }

        CheckCount();
    }

    /// <summary>Adds a folder.</summary>
    public void AddFolder(string path)
    {
        _folders.Add(path);
        CheckCount();
    }

    /// <summary>What is said when the bytes are more than may be.</summary>
    public static TransferException TooLarge(TransferBounds bounds) => new(
        "TransferTooLarge", $"This is more than {ByteSize.Format(bounds.Bytes)}, which is what one transfer may be (setting transferLimit). Nothing more was copied.");

    private void CheckCount()
    {
        if (_files.Count + _folders.Count > bounds.Files)
        {
            throw new TransferException(
                "TransferTooLarge",
                $"These are more than {bounds.Files} files and folders, which is what one transfer may be (setting transferFiles). Nothing was copied: pack them into one archive first, or raise it.");
        }
    }

    private static void Count(List<string> what, int count, string one, string many)
    {
        if (count > 0)
        {
            what.Add($"{count} {(count == 1 ? one : many)}");
        }
    }
}

/// <summary>A transfer that could not be done.</summary>
internal sealed class TransferException : Exception
{
    /// <summary>Makes it.</summary>
    /// <param name="name">The error's name in the cell.</param>
    /// <param name="message">What happened and what to do.</param>
    /// <param name="inner">What it was caused by.</param>
    public TransferException(string name, string message, Exception? inner = null)
        : base(message, inner) => Name = name;

    /// <summary>The error's name in the cell.</summary>
    public string Name { get; }
}
