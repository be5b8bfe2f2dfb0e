using System.Security.Cryptography;
using System.Text;
using InterpreterKernel.SandboxHost.Native;

namespace InterpreterKernel.SandboxHost.Isolation;

/// <summary>
/// Where the host keeps its files:
/// <code>
/// BASE/lock             held (flock) while the host lives; holds its process id
/// BASE/runc/            the runtime's own state
/// BASE/templates/NAME/  read-only root file systems: mount points, links and a synthetic /etc
/// BASE/sandboxes/ID/    config.json and logs of one sandbox
/// </code>
/// As an ordinary user (or the root of a container that has no ids to give) BASE is the state directory: user 0 of the
/// sandbox is that user, who may pass everywhere. As root the sandbox's users are strangers who must pass through every directory above the root file system, so BASE is
/// <c>/run/interpreter-kernel-host/HASH</c> (0711: pass, but not list), whatever the mode of the state directory.
/// </summary>
internal sealed class HostLayout
{
    private const UnixFileMode OnlyMe = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
    private const UnixFileMode PassThrough = OnlyMe | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute;

    private HostLayout(string stateDirectory, bool asRoot)
    {
        AsRoot = asRoot;
        if (asRoot)
        {
            var hash = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(Path.GetFullPath(stateDirectory))))[..16];
            Shared = Directory.Exists("/run") ? "/run/interpreter-kernel-host" : "/tmp/interpreter-kernel-host-0";
            Base = Path.Combine(Shared, hash);
        }
        else
        {
            Base = Path.GetFullPath(stateDirectory);
            Shared = Base;
        }

        StateDirectory = Path.GetFullPath(stateDirectory);
    }

    internal bool AsRoot { get; }

    internal string StateDirectory { get; }

    internal string Base { get; }

    /// <summary>As root, what all hosts of the machine share: the reservations of user ids.</summary>
    internal string Shared { get; }

    internal string Lock => Path.Combine(Base, "lock");

    internal string RuntimeState => Path.Combine(Base, "runc");

    internal string Templates => Path.Combine(Base, "templates");

    internal string Sandboxes => Path.Combine(Base, "sandboxes");

    internal string IdReservations => Path.Combine(Shared, "ids");

    /// <summary>The cgroup that holds one cgroup for each sandbox; relative to the mount of every hierarchy.</summary>
    internal string CgroupParent => "/interpreter-kernel-" + Path.GetFileName(Base);

    internal static HostLayout For(string stateDirectory) => new(stateDirectory, LibC.GetUser() == 0 && IdRange.CanMapStrangers());

    /// <summary>Makes the directories, and refuses ones that somebody else made.</summary>
    internal void Create()
    {
        MakeOwn(StateDirectory, OnlyMe);
        if (AsRoot)
        {
            MakeOwn(Shared, PassThrough);
            MakeOwn(IdReservations, OnlyMe);
        }

        MakeOwn(Base, AsRoot ? PassThrough : OnlyMe);
        MakeOwn(RuntimeState, OnlyMe);
        MakeOwn(Templates, PassThrough);
        MakeOwn(Sandboxes, OnlyMe);
    }

    /// <summary>Takes the lock that marks this state as in use; null when a living host has it.</summary>
    internal FileStream? TryLock()
    {
        try
        {
            // FileShare.None is flock(LOCK_EX): the kernel lets go of it when the process dies, in whatever way.
            return new FileStream(Lock, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (IOException) when (File.Exists(Lock))
        {
            return null;
        }
    }

    /// <summary>Takes away what <see cref="Create"/> made, as far as it is empty of sandboxes. The state directory itself stays.</summary>
    internal void Remove()
    {
        foreach (var directory in (string[])[Sandboxes, Templates, RuntimeState])
        {
            if (Directory.Exists(directory))
            {
                Directory.Delete(directory, recursive: true);
            }
        }

        File.Delete(Lock);
        if (AsRoot)
        {
            Directory.Delete(Base);
        }
    }

    private static void MakeOwn(string path, UnixFileMode mode)
    {
        if (!Directory.Exists(path))
        {
            Directory.CreateDirectory(path, mode);
        }

        var info = new DirectoryInfo(path);
        if (info.LinkTarget is not null)
        {
            throw new SandboxHostException(SandboxHostFault.Options, $"{path} is a symbolic link, where a directory of our own is needed; remove it");
        }

        try
        {
            // Only the owner (and root) may do this, so it is the check as well.
            File.SetUnixFileMode(path, mode);
        }
        catch (UnauthorizedAccessException e)
        {
            throw new SandboxHostException(SandboxHostFault.Options, $"{path} belongs to somebody else; choose another state directory", e);
        }
    }
}
