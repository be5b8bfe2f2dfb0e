using System.Globalization;
using InterpreterKernel.SandboxHost.Isolation;
using InterpreterKernel.SandboxHost.Native;

namespace InterpreterKernel.SandboxHost;

/// <summary>Looks at the machine: the same answers stop the start and are shown by <c>doctor</c>.</summary>
internal static class HostChecks
{
    /// <summary>All checks, whether they pass or not.</summary>
    internal static IReadOnlyList<HostCheck> Run(SandboxHostOptions options)
    {
        var cgroups = Cgroups.Detect();
        var runtime = OciRuntime.Find(options.Runtime);
        var python = options.Python ?? "/usr/bin/python3";
        return
        [
            .. options.Faults().Select(fault => new HostCheck("options", false, true, fault, "correct the option")),
            Kernel(),
            new HostCheck(
                "OCI runtime",
                runtime is not null,
                true,
                runtime ?? "neither runc nor crun was found",
                runtime is null ? "install runc (Debian, Ubuntu: sudo apt install runc; Fedora: sudo dnf install runc)" : null),
            UserNamespaces(),
            Seccomp(),
            .. cgroups.Faults.Select(limit => Limit(limit.Key, limit.Value, options)),
            options.RootFilesystem is { } root
                ? new HostCheck("template", Directory.Exists(root), true, root, Directory.Exists(root) ? null : "give an existing directory as RootFilesystem")
                : new HostCheck("template", File.Exists(python), true, python, File.Exists(python) ? null : "install Python 3 with ipykernel (Debian: sudo apt install python3-ipykernel), or name another interpreter"),
        ];
    }

    /// <summary>What the start needs, or an exception that names everything missing at once.</summary>
    internal static (string Runtime, Cgroups Cgroups) Require(SandboxHostOptions options)
    {
        var missing = Run(options).Where(check => check is { Ok: false, Required: true }).ToList();
        if (missing.Count > 0)
        {
            var reason = missing[0].Name switch
            {
                "options" => SandboxHostFault.Options,
                "OCI runtime" => SandboxHostFault.NoRuntime,
                "template" => SandboxHostFault.Template,
                _ => SandboxHostFault.CannotIsolate,
            };
            var lines = missing.Select(check => $"{check.Name}: {check.Detail}{(check.Mend is null ? "" : $" ({check.Mend})")}");
            throw new SandboxHostException(reason, "the embedded sandbox host can't start: " + string.Join("; ", lines));
        }

        return (OciRuntime.Find(options.Runtime)!, Cgroups.Detect());
    }

    private static HostCheck Kernel()
    {
        if (!OperatingSystem.IsLinux())
        {
            return new HostCheck("system", false, true, "the embedded host runs on Linux only", "use an E2B-compatible service instead (E2B_API_KEY, E2B_API_URL)");
        }

        // pidfd_open (5.3) and tmpfs, overlay and friends in user namespaces (5.11, for runc as an ordinary user).
        var version = Environment.OSVersion.Version;
        var ok = version >= new Version(5, 11);
        return new HostCheck("kernel", ok, true, $"Linux {version}", ok ? null : "Linux 5.11 or later is needed");
    }

    private static HostCheck UserNamespaces()
    {
        var maximum = Number("/proc/sys/user/max_user_namespaces") ?? 0;
        if (maximum == 0)
        {
            return new HostCheck("user namespaces", false, true, "they are turned off", "sysctl user.max_user_namespaces=15000");
        }

        if (LibC.GetUser() != 0 && Number("/proc/sys/kernel/unprivileged_userns_clone") == 0)
        {
            return new HostCheck("user namespaces", false, true, "they are turned off for ordinary users", "sysctl kernel.unprivileged_userns_clone=1");
        }

        if (LibC.GetUser() != 0 && Number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == 1)
        {
            return new HostCheck("user namespaces", false, true, "AppArmor restricts them for ordinary users", "sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for runc");
        }

        return new HostCheck("user namespaces", true, true, $"up to {maximum}", null);
    }

    private static HostCheck Seccomp()
    {
        var ok = File.Exists("/proc/sys/kernel/seccomp/actions_avail");
        return new HostCheck("seccomp", ok, true, ok ? "filters are available" : "the kernel has no seccomp filters", ok ? null : "boot a kernel with CONFIG_SECCOMP_FILTER");
    }

    private static HostCheck Limit(string name, string? fault, SandboxHostOptions options)
    {
        var accepted = options.AcceptUnenforced.Contains(name);
        return new HostCheck(
            $"limit on {name}",
            fault is null,
            !accepted,
            fault is null ? "can be enforced" : fault + (accepted ? "; accepted as not enforced" : ""),
            fault is null || accepted ? null : $"as a last resort accept sandboxes without this limit: put {name} into AcceptUnenforced");
    }

    private static long? Number(string path) =>
        File.Exists(path) && long.TryParse(File.ReadAllText(path), CultureInfo.InvariantCulture, out var number) ? number : null;
}
