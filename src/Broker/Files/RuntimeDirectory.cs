using System.Text;

namespace InterpreterKernel.Broker;

/// <summary>
/// The directory in which the processes of one user meet: the broker's socket, its locks, its log. Whoever can
/// write here can take part, so it has to be ours, not a link, and closed to everybody else.
/// </summary>
public sealed class RuntimeDirectory
{
    /// <summary>The variable that moves the directory.</summary>
    public const string Variable = "INTERPRETER_KERNEL_RUNTIME_DIR";

    private const UnixFileMode Private = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
    private const UnixFileMode WritableByOthers = UnixFileMode.GroupWrite | UnixFileMode.OtherWrite;

    // sockaddr_un.sun_path has 108 bytes, the last one zero.
    private const int LongestSocketPath = 107;

    private RuntimeDirectory(string path) => Path = path;

    /// <summary>The directory's absolute path.</summary>
    public string Path { get; }

    /// <summary>The broker's socket.</summary>
    public string SocketPath => System.IO.Path.Combine(Path, "broker.sock");

    /// <summary>Held by the broker for as long as it lives.</summary>
    public string LockPath => System.IO.Path.Combine(Path, "broker.lock");

    /// <summary>Held by whoever is starting a broker.</summary>
    public string LaunchLockPath => System.IO.Path.Combine(Path, "launch.lock");

    /// <summary>What the broker says while it runs.</summary>
    public string LogPath => System.IO.Path.Combine(Path, "broker.log");

    internal string InstancesPath => System.IO.Path.Combine(Path, "instances");

    /// <summary>
    /// Finds the directory (<c>$INTERPRETER_KERNEL_RUNTIME_DIR</c>, else <c>$XDG_RUNTIME_DIR/interpreter-kernel</c> when
    /// that is ours, else <c>/tmp/interpreter-kernel-UID</c>), creates it when missing and checks it.
    /// </summary>
    /// <exception cref="BrokerException">It cannot be used; the message says why and what to do.</exception>
    public static RuntimeDirectory Open(IReadOnlyDictionary<string, string?>? environment = null)
    {
        string? Read(string name) =>
            environment is null ? Environment.GetEnvironmentVariable(name) : environment.GetValueOrDefault(name);

        if (Read(Variable) is { Length: > 0 } chosen)
        {
            return At(chosen);
        }

        if (Read("XDG_RUNTIME_DIR") is { Length: > 0 } xdg
            && System.IO.Path.IsPathRooted(xdg)
            && Posix.Describe(xdg) is { Kind: FileKind.Directory } found
            && found.Owner == Posix.EffectiveUserId())
        {
            return At(System.IO.Path.Combine(xdg, "interpreter-kernel"));
        }

        return At($"/tmp/interpreter-kernel-{Posix.EffectiveUserId()}");
    }

    /// <summary>Opens the directory at a path, creating it when missing.</summary>
    /// <exception cref="BrokerException">It cannot be used; the message says why and what to do.</exception>
    public static RuntimeDirectory At(string path)
    {
        if (!System.IO.Path.IsPathRooted(path))
        {
            throw Unusable(path, "it is not an absolute path");
        }

        var directory = new RuntimeDirectory(System.IO.Path.GetFullPath(path).TrimEnd('/'));
        if (Encoding.UTF8.GetByteCount(directory.SocketPath) is var length && length > LongestSocketPath)
        {
            throw Unusable(path, $"the socket in it would have a path of {length} bytes, and unix sockets allow {LongestSocketPath}");
        }

        try
        {
            // Does nothing when it is there already; another process may be creating it right now.
            Directory.CreateDirectory(directory.Path, Private);
            directory.Check();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Unusable(directory.Path, e.Message, e);
        }

        return directory;
    }

    /// <summary>The path.</summary>
    public override string ToString() => Path;

    private void Check()
    {
        var found = Posix.Describe(Path) ?? throw Unusable(Path, "it vanished while it was opened");
        if (found.Kind != FileKind.Directory)
        {
            throw Unusable(Path, found.Kind == FileKind.SymbolicLink ? "it is a symbolic link" : "it is not a directory");
        }

        var us = Posix.EffectiveUserId();
        if (found.Owner != us)
        {
            throw Unusable(Path, $"it belongs to user {found.Owner}, not to user {us}");
        }

        // What others could write into may already hold something of theirs; what they could only read is mended.
        if ((found.Mode & WritableByOthers) != 0)
        {
            throw Unusable(Path, "other users can write to it");
        }

        if ((found.Mode & ~Private) != 0)
        {
            File.SetUnixFileMode(Path, Private);
        }
    }

    private static BrokerException Unusable(string path, string why, Exception? inner = null) => new(
        BrokerFault.RuntimeDirectory,
        $"The runtime directory {path} cannot be used: {why}. Nothing was started. Remove it, or set {Variable} to a directory of your own.",
        inner);
}
