using InterpreterKernel.SandboxHost.Native;

namespace InterpreterKernel.SandboxHost.Isolation;

/// <summary>Writes down the isolation of one sandbox as an OCI configuration. DESIGN 3.6 is the list; this is all of it.</summary>
internal static class SandboxSpec
{
    private const int NoFileLimit = 7;
    private const ulong MaxOpenFiles = 65536;

    /// <summary>Docker's list, and what this machine keeps in /usr/local that is nobody else's business.</summary>
    private static readonly string[] s_masked =
    [
        "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
        "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/usr/local/etc", "/usr/local/var",
    ];

    private static readonly string[] s_readOnly = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

    /// <summary>The sandbox's own cgroup, to read: how a program in it learns its limits, and that memory ran out.</summary>
    private static readonly OciMount s_ownCgroup = new("/sys/fs/cgroup", "cgroup", "cgroup", ["nosuid", "noexec", "nodev", "relatime", "ro"]);

    internal static OciSpec Create(Template template, IdRange ids, SandboxResources resources, Cgroups cgroups, IReadOnlyCollection<string> accepted, string? cgroupsPath)
    {
        var user = ids.UserInside;
        OciMount[] mounts =
        [
            new("/proc", "proc", "proc", ["nosuid", "noexec", "nodev"]),
            new("/dev", "tmpfs", "tmpfs", ["nosuid", "noexec", "strictatime", "mode=755", "size=64k", "ro"]),
            new("/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
            Files("/dev/shm", resources.SharedMemoryBytes, user, "mode=0777", "noexec"),
            Files("/home/user", resources.DiskBytes, user, "mode=0755"),
            Files("/tmp", resources.TmpBytes, user, "mode=1777"),
            Files("/run/ik", resources.TmpBytes, user, "mode=0700"),
            .. template.Parts.Select(ReadOnly),
            .. cgroups.CanLimit("memory") ? [s_ownCgroup] : Array.Empty<OciMount>(),
        ];
        return new OciSpec(
            "1.0.2",
            new OciProcess(
                Terminal: false,
                new OciUser(user, user),
                [template.Python, "-I", "-S", "-E", "-B", TemplateBuilder.AgentPath],
                ["PATH=/usr/bin:/bin"],
                "/",
                OciCapabilities.None,
                Rlimits(resources, accepted),
                NoNewPrivileges: true),
            new OciRoot(template.Skeleton, Readonly: true),
            "sandbox",
            mounts,
            new OciLinux(
                [new OciIdMapping(0, ids.HostId, ids.Size)],
                [new OciIdMapping(0, ids.HostGroupId, ids.Size)],
                [.. ((string[])["user", "pid", "mount", "network", "ipc", "uts", "cgroup"]).Select(type => new OciNamespace(type))],
                cgroupsPath,
                Resources(resources, cgroups),
                SeccompProfile.Create(),
                s_masked,
                s_readOnly));
    }

    private static OciMount Files(string destination, long size, uint user, string mode, params string[] more) =>
        new(
            destination,
            "tmpfs",
            "tmpfs",
            ["nosuid", "nodev", mode, $"size={size}", $"nr_inodes={Math.Max(size / 4096, 1024)}", $"uid={user}", $"gid={user}", .. more]);

    private static OciMount ReadOnly(TemplatePart part) =>
        // Recursive, as what is mounted below it can't be left out by a user namespace with fewer rights.
        new(part.Destination, "bind", part.Source, ["rbind", "rro", "ro", "nosuid", "nodev"]);

    private static List<OciRlimit> Rlimits(SandboxResources resources, IReadOnlyCollection<string> accepted)
    {
        var files = Math.Min(HardLimit(NoFileLimit), MaxOpenFiles);
        var limits = new List<OciRlimit>
        {
            new("RLIMIT_CORE", 0, 0),
            new("RLIMIT_NOFILE", files, files),
        };

        // For a process or for the one user, instead of for the sandbox: the best there is without cgroups.
        if (accepted.Contains("memory"))
        {
            limits.Add(new("RLIMIT_DATA", (ulong)resources.MemoryBytes, (ulong)resources.MemoryBytes));
        }

        if (accepted.Contains("pids"))
        {
            limits.Add(new("RLIMIT_NPROC", (ulong)resources.Pids, (ulong)resources.Pids));
        }

        return limits;
    }

    private static OciResources Resources(SandboxResources resources, Cgroups cgroups) =>
        new(
            cgroups.CanLimit("memory") ? new OciMemory(resources.MemoryBytes, resources.MemoryBytes) : null,
            cgroups.CanLimit("cpu") ? new OciCpu((long)(resources.Cpus * 100_000), 100_000) : null,
            cgroups.CanLimit("pids") ? new OciPids(resources.Pids) : null);

    private static unsafe ulong HardLimit(int resource)
    {
        var values = stackalloc ulong[2];
        return LibC.GetLimit(resource, values) == 0 ? values[1] : MaxOpenFiles;
    }
}
