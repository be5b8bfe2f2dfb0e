using System.Security.Cryptography;
using System.Text;

namespace InterpreterKernel.SandboxHost.Tests;

/// <summary>Looks over the machine for anything that a host with this state directory has made.</summary>
internal static class Traces
{
    internal static IReadOnlyList<string> Of(string stateDirectory)
    {
        var hash = Hash(stateDirectory);
        var found = new List<string>();
        if (Directory.Exists("/run/interpreter-kernel-host/" + hash))
        {
            // Top level only: below are links into all of the system, and .NET would follow them.
            found.AddRange(Directory.EnumerateFileSystemEntries("/run/interpreter-kernel-host/" + hash));
        }

        if (Directory.Exists("/run/interpreter-kernel-host/ids"))
        {
            found.AddRange(Directory.EnumerateFiles("/run/interpreter-kernel-host/ids").Where(f => Read(f).EndsWith(hash, StringComparison.Ordinal)));
        }

        found.AddRange(Cgroups(hash));
        found.AddRange(File.ReadLines("/proc/self/mountinfo").Where(line => line.Contains(hash, StringComparison.Ordinal)));
        found.AddRange(Processes(hash));
        return found;
    }

    /// <summary>The directories of sandboxes that are being made or live.</summary>
    internal static IEnumerable<string> Sandboxes(string stateDirectory) =>
        Directory.EnumerateDirectories($"/run/interpreter-kernel-host/{Hash(stateDirectory)}/sandboxes");

    /// <summary>Cgroups of the host, and of one sandbox when an id is given.</summary>
    internal static IEnumerable<string> Cgroups(string part) =>
        Directory.EnumerateDirectories("/sys/fs/cgroup")
            .Append("/sys/fs/cgroup")
            .SelectMany(h => Directory.EnumerateDirectories(h, "interpreter-kernel-*"))
            .SelectMany(d => Directory.Exists(d) ? Directory.EnumerateDirectories(d).Append(d) : [])
            .Where(d => d.Contains(part, StringComparison.Ordinal));

    /// <summary>Processes in a cgroup of that host or sandbox, or with its name in their command line.</summary>
    internal static IEnumerable<string> Processes(string part)
    {
        foreach (var directory in Directory.EnumerateDirectories("/proc").Where(d => int.TryParse(Path.GetFileName(d), out var pid) && pid != Environment.ProcessId))
        {
            string text;
            try
            {
                // The processes of a host that a test killed have ended when they are zombies: they wait to be reaped by whoever inherited
                // them, which is this process where it has been a host itself (it does so when it ends), and else the machine's init.
                if (File.ReadAllText(directory + "/stat") is var stat && stat[(stat.LastIndexOf(')') + 2)..] is var state
                    && (state.StartsWith($"Z {Environment.ProcessId} ", StringComparison.Ordinal) || state.StartsWith("Z 1 ", StringComparison.Ordinal)))
                {
                    continue;
                }

                text = File.ReadAllText(directory + "/cgroup") + File.ReadAllText(directory + "/cmdline");
            }
            catch (IOException)
            {
                continue; // it ended while we looked
            }

            if (text.Contains(part, StringComparison.Ordinal))
            {
                yield return directory + " " + text.Replace('\0', ' ');
            }
        }
    }

    /// <summary>Other tests' hosts come and go meanwhile.</summary>
    private static string Read(string file)
    {
        try
        {
            return File.ReadAllText(file);
        }
        catch (IOException)
        {
            return "";
        }
    }

    private static string Hash(string stateDirectory) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(stateDirectory)))[..16];
}
