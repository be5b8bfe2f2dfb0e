using InterpreterKernel.SandboxHost.Native;

namespace InterpreterKernel.SandboxHost.Isolation;

/// <summary>How limits can be set on this machine: which of memory, pids and cpu can be enforced, and through what.</summary>
internal sealed class Cgroups
{
    private const string Mount = "/sys/fs/cgroup";

    private Cgroups(IReadOnlyDictionary<string, string?> faults, bool viaSystemd)
    {
        Faults = faults;
        ViaSystemd = viaSystemd;
    }

    /// <summary>For <c>memory</c>, <c>pids</c> and <c>cpu</c>: null when it can be enforced, else why not.</summary>
    internal IReadOnlyDictionary<string, string?> Faults { get; }

    /// <summary>Whether the runtime must ask the user's systemd for a delegated cgroup.</summary>
    internal bool ViaSystemd { get; }

    internal bool CanLimit(string name) => Faults[name] is null;

    internal static Cgroups Detect()
    {
        var unified = File.Exists(Path.Combine(Mount, "cgroup.controllers"));
        if (LibC.GetUser() == 0)
        {
            return unified ? UnifiedAsRoot() : new Cgroups(Each(LegacyFault), viaSystemd: false);
        }

        return unified
            ? UnifiedAsUser()
            : new Cgroups(Each(_ => "this machine has cgroup v1, where an ordinary user can't set limits"), viaSystemd: false);
    }

    /// <summary>
    /// Lets the code of a sandbox read its own memory figures. The runtime made the directory with our umask, for nobody else.
    /// </summary>
    internal static void Show(string cgroup)
    {
        const UnixFileMode readable = (UnixFileMode)0b111_101_101;
        foreach (var directory in (string[])[Mount + "/memory" + cgroup, Mount + cgroup])
        {
            if (Directory.Exists(directory))
            {
                File.SetUnixFileMode(directory, readable);
                return;
            }
        }
    }

    /// <summary>Removes the cgroups of this layout that hold no process any more. Gives how many could not be removed.</summary>
    internal static int RemoveLeftovers(HostLayout layout)
    {
        if (!Directory.Exists(Mount))
        {
            return 0;
        }

        // v1 and hybrid: one directory for each hierarchy below the mount; v2: the mount itself is the hierarchy.
        var left = 0;
        foreach (var hierarchy in Directory.EnumerateDirectories(Mount).Append(Mount))
        {
            var parent = hierarchy + layout.CgroupParent;
            if (Directory.Exists(parent))
            {
                left += Directory.EnumerateDirectories(parent).Count(child => !TryRemove(child));
                left += TryRemove(parent) ? 0 : 1;
            }
        }

        return left;
    }

    private static bool TryRemove(string cgroup)
    {
        try
        {
            Directory.Delete(cgroup);
            return true;
        }
        catch (DirectoryNotFoundException)
        {
            return true;
        }
        catch (IOException)
        {
            return false;
        }
    }

    private static Cgroups UnifiedAsRoot()
    {
        var offered = Controllers(Mount);
        return new Cgroups(
            Each(name =>
                !offered.Contains(name) ? $"cgroup v2 offers no {name} controller here"
                : !Writable(Mount) ? $"{Mount} is mounted read-only (a container?); mount it writable"
                : null),
            viaSystemd: false);
    }

    private static Cgroups UnifiedAsUser()
    {
        var user = LibC.GetUser();
        var delegated = $"{Mount}/user.slice/user-{user}.slice/user@{user}.service";
        var offered = Controllers(delegated);
        return new Cgroups(
            Each(name => offered.Contains(name)
                ? null
                : $"systemd delegates no {name} controller to this user; put 'Delegate=cpu memory pids' into /etc/systemd/system/user@.service.d/delegate.conf and log in again"),
            viaSystemd: true);
    }

    private static string? LegacyFault(string name)
    {
        var file = name switch
        {
            "memory" => "memory/memory.limit_in_bytes",
            "pids" => "pids/cgroup.procs",
            _ => "cpu/cpu.cfs_period_us",
        };
        var path = Path.Combine(Mount, file);
        if (!File.Exists(path))
        {
            return $"the kernel's {name} controller is not mounted ({path} is missing)";
        }

        if (name == "memory" && SwapIsOn() && !File.Exists(Path.Combine(Mount, "memory/memory.memsw.limit_in_bytes")))
        {
            return "swap is on but not accounted for: boot with swapaccount=1 or turn swap off";
        }

        return Writable(Path.GetDirectoryName(path)!) ? null : $"{Path.GetDirectoryName(path)} is mounted read-only (a container?); mount it writable";
    }

    private static Dictionary<string, string?> Each(Func<string, string?> fault) =>
        ((string[])["memory", "pids", "cpu"]).ToDictionary(name => name, fault);

    private static string[] Controllers(string cgroup)
    {
        var path = Path.Combine(cgroup, "cgroup.controllers");
        return File.Exists(path) ? File.ReadAllText(path).Split((char[])[' ', '\n'], StringSplitOptions.RemoveEmptyEntries) : [];
    }

    private static bool Writable(string directory)
    {
        try
        {
            using var file = new FileStream(Path.Combine(directory, "cgroup.procs"), FileMode.Open, FileAccess.Write);
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    private static bool SwapIsOn() =>
        File.Exists("/proc/swaps") && File.ReadLines("/proc/swaps").Skip(1).Any();
}
