using System.Security.Cryptography;
using System.Text;

namespace InterpreterKernel.SandboxHost.Tests;

/// <summary>Looks over the machine for anything that a host with this state directory has made.</summary>
internal static class Traces
{
    internal static IReadOnlyList<string> Of(string stateDirectory)
    {
        var hash = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(stateDirectory)))[..16];
        var found = new List<string>();
        if (Directory.Exists("/run/interpreter-kernel-host/" + hash))
        {
            found.AddRange(Directory.EnumerateFileSystemEntries("/run/interpreter-kernel-host/" + hash, "*", SearchOption.AllDirectories));
        }

        if (Directory.Exists("/run/interpreter-kernel-host/ids"))
        {
            found.AddRange(Directory.EnumerateFiles("/run/interpreter-kernel-host/ids").Where(f => File.ReadAllText(f).EndsWith(hash, StringComparison.Ordinal)));
        }

        found.AddRange(Cgroups(hash));
        found.AddRange(File.ReadLines("/proc/self/mountinfo").Where(line => line.Contains(hash, StringComparison.Ordinal)));
        found.AddRange(Processes(hash));
        return found;
    }

    /// <summary>Cgroups of the host, and of one sandbox when an id is given.</summary>
    internal static IEnumerable<string> Cgroups(string part) =>
        Directory.EnumerateDirectories("/sys/fs/cgroup")
            .Append("/sys/fs/cgroup")
            .Select(h => h + "/interpreter-kernel")
            .Where(Directory.Exists)
            .SelectMany(d => Directory.EnumerateDirectories(d, "*", SearchOption.AllDirectories))
            .Where(d => d.Contains(part, StringComparison.Ordinal));

    /// <summary>Processes in a cgroup of that host or sandbox, or with its name in their command line.</summary>
    internal static IEnumerable<string> Processes(string part)
    {
        foreach (var directory in Directory.EnumerateDirectories("/proc").Where(d => int.TryParse(Path.GetFileName(d), out var pid) && pid != Environment.ProcessId))
        {
            string text;
            try
            {
                // Hosts in this process make it the one that inherits orphans, also those of hosts that a test killed;
                // those can only be zombies of ours, and go when this process does.
                if (File.ReadAllText(directory + "/stat") is var stat && stat[(stat.LastIndexOf(')') + 2)..].StartsWith($"Z {Environment.ProcessId} ", StringComparison.Ordinal))
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
}
