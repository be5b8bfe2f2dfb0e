using System.Globalization;
using InterpreterKernel.SandboxHost.Native;
using Microsoft.Win32.SafeHandles;

namespace InterpreterKernel.SandboxHost.Isolation;

/// <summary>
/// The OCI runtime's command line. Nothing of it stays: it makes the namespaces, starts the agent and ends.
/// </summary>
internal sealed class OciRuntime(string path, HostLayout layout, Cgroups cgroups, Poller poller)
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(30);

    /// <summary>The runtime to use: the one asked for, else runc or crun from PATH and the system's own directories.</summary>
    internal static string? Find(string? wanted)
    {
        if (wanted is not null && Path.IsPathFullyQualified(wanted))
        {
            return IsThere(wanted) ? wanted : null;
        }

        string[] directories = [.. (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':', StringSplitOptions.RemoveEmptyEntries), "/usr/local/sbin", "/usr/sbin", "/usr/bin", "/sbin"];
        string[] names = wanted is null ? ["runc", "crun"] : [wanted];
        return names
            .SelectMany(name => directories.Where(Path.IsPathFullyQualified).Select(directory => Path.Combine(directory, name)))
            .FirstOrDefault(IsThere);
    }

    // Debian leaves /usr/bin/runc as a link to /usr/sbin/runc; one that points nowhere counts as a file otherwise.
    private static bool IsThere(string path) => File.Exists(path) && (File.ResolveLinkTarget(path, returnFinalTarget: true)?.Exists ?? true);

    /// <summary>Starts a container from a bundle; <paramref name="control"/> becomes descriptor 3 of its first process.</summary>
    /// <returns>The process id of that first process.</returns>
    /// <exception cref="SandboxHostException">The runtime refused.</exception>
    internal async Task<int> RunAsync(string id, string bundle, SafeFileHandle control)
    {
        var pidFile = Path.Combine(bundle, "pid");
        var runtimeLog = Path.Combine(bundle, "runtime.log");
        var agentLog = Path.Combine(bundle, "agent.log");
        using var nothing = File.OpenHandle("/dev/null", FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
        using var output = File.OpenHandle(agentLog, FileMode.Append, FileAccess.Write, FileShare.ReadWrite);
        List<string> arguments =
        [
            "--root", layout.RuntimeState, "--log", runtimeLog, "--log-format", "json", .. SystemdOption(),
            "run", "--detach", "--preserve-fds", "1", "--pid-file", pidFile, "--bundle", bundle, id,
        ];
        var status = await RunAsync(arguments, [nothing, output, output, control]);
        if (status != 0)
        {
            throw new SandboxHostException(SandboxHostFault.StartFailed, $"{path} could not start a sandbox: {Last(runtimeLog) ?? Last(agentLog) ?? $"it ended with code {status}"}");
        }

        return int.Parse(await File.ReadAllTextAsync(pidFile), CultureInfo.InvariantCulture);
    }

    /// <summary>Kills what is left of a container and removes its cgroups and the runtime's record of it.</summary>
    internal async Task<bool> DeleteAsync(string id)
    {
        using var nothing = File.OpenHandle("/dev/null", FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
        return await RunAsync(["--root", layout.RuntimeState, .. SystemdOption(), "delete", "--force", id], [nothing, nothing, nothing]) == 0;
    }

    /// <exception cref="SandboxHostException">It could not, and nothing has changed.</exception>
    internal Task PauseAsync(string id) => ChangeAsync("pause", id);

    /// <inheritdoc cref="PauseAsync"/>
    internal Task ResumeAsync(string id) => ChangeAsync("resume", id);

    /// <summary>Thaws what may be frozen; what is not stays as it is.</summary>
    internal async Task ThawAsync(string id)
    {
        using var nothing = File.OpenHandle("/dev/null", FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
        await RunAsync(["--root", layout.RuntimeState, .. SystemdOption(), "resume", id], [nothing, nothing, nothing]);
    }

    private async Task ChangeAsync(string command, string id)
    {
        var runtimeLog = Path.Combine(layout.Sandboxes, id, "runtime.log");
        using var nothing = File.OpenHandle("/dev/null", FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
        var status = await RunAsync(["--root", layout.RuntimeState, "--log", runtimeLog, "--log-format", "json", .. SystemdOption(), command, id], [nothing, nothing, nothing]);
        if (status != 0)
        {
            throw new SandboxHostException(SandboxHostFault.ChangeFailed, $"{path} could not {command} sandbox {id}: {Last(runtimeLog) ?? $"it ended with code {status}"}");
        }
    }

    /// <summary>The last line that was said about a start that failed.</summary>
    internal static string? Last(string log) => File.Exists(log) ? File.ReadLines(log).LastOrDefault(line => line.Length > 0) : null;

    private string[] SystemdOption() => cgroups.ViaSystemd ? ["--systemd-cgroup"] : [];

    private async Task<int> RunAsync(IReadOnlyList<string> arguments, IReadOnlyList<SafeFileHandle> descriptors)
    {
        var pid = NativeProcess.Start(path, arguments, RuntimeEnvironment(), descriptors);
        var ended = NativeProcess.WaitAsync(poller, pid);
        try
        {
            return await ended.WaitAsync(s_patience) is { } status ? NativeProcess.ExitCode(status) : -1;
        }
        catch (TimeoutException)
        {
            NativeProcess.Kill(pid);
            await ended;
            throw new SandboxHostException(SandboxHostFault.StartFailed, $"{path} {string.Join(' ', arguments)} did not end within {s_patience.TotalSeconds:0} s and was killed");
        }
    }

    /// <summary>What the runtime itself needs: tools of its own, and systemd's bus where that sets the limits.</summary>
    private static string[] RuntimeEnvironment()
    {
        string[] names = ["XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"];
        return
        [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            .. names.Select(name => (name, value: Environment.GetEnvironmentVariable(name))).Where(v => v.value is not null).Select(v => $"{v.name}={v.value}"),
        ];
    }
}
