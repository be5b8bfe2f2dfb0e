namespace InterpreterKernel.Sandbox;

/// <summary>A file, a directory or a link in the sandbox.</summary>
public sealed record FileEntry
{
    /// <summary>Its name.</summary>
    public required string Name { get; init; }

    /// <summary>Its whole path.</summary>
    public required string Path { get; init; }

    /// <summary>What it is; of a link, what the link leads to.</summary>
    public FileEntryType Type { get; init; }

    /// <summary>Its size in bytes.</summary>
    public long Size { get; init; }

    /// <summary>Its permission bits, such as octal 644.</summary>
    public int Mode { get; init; }

    /// <summary>The same as text, such as <c>-rw-r--r--</c>.</summary>
    public string Permissions { get; init; } = "";

    /// <summary>Whose it is.</summary>
    public string Owner { get; init; } = "";

    /// <summary>Its group.</summary>
    public string Group { get; init; } = "";

    /// <summary>When it was last written to.</summary>
    public DateTimeOffset? ModifiedTime { get; init; }

    /// <summary>Where it leads, if it is a link.</summary>
    public string? SymlinkTarget { get; init; }
}

/// <summary>What an entry of a directory is.</summary>
public enum FileEntryType
{
    /// <summary>Something else, or a link that leads nowhere.</summary>
    Other,

    /// <summary>A file.</summary>
    File,

    /// <summary>A directory.</summary>
    Directory,
}

/// <summary>Something that happened in a watched directory.</summary>
/// <param name="Name">The path of what changed, relative to the watched directory.</param>
/// <param name="Kind">What happened.</param>
public sealed record FileChange(string Name, FileChangeKind Kind);

/// <summary>What happened to an entry of a watched directory.</summary>
public enum FileChangeKind
{
    /// <summary>Something that this version does not know.</summary>
    Other,

    /// <summary>It was made.</summary>
    Create,

    /// <summary>It was written to.</summary>
    Write,

    /// <summary>It was removed.</summary>
    Remove,

    /// <summary>It was given another name or place.</summary>
    Rename,

    /// <summary>Its permissions were changed.</summary>
    Chmod,
}
