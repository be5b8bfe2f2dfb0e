using System.Globalization;
using System.Security.Cryptography;

namespace InterpreterKernel.Broker;

/// <summary>
/// One small file for each broker that ran in this directory and did not end cleanly, so that its successor knows whose
/// sandboxes it may sweep. The caller holds the broker's lock.
/// </summary>
internal sealed class InstanceRecords
{
    // No lease is longer than a day, so what an older one left is long gone.
    private static readonly TimeSpan s_kept = TimeSpan.FromHours(25);

    private readonly string _path;

    private InstanceRecords(string path, string id, IReadOnlySet<string> dead)
    {
        _path = path;
        Id = id;
        Dead = dead;
    }

    /// <summary>This broker; never used twice.</summary>
    public string Id { get; }

    /// <summary>Brokers of this directory that died.</summary>
    public IReadOnlySet<string> Dead { get; }

    public static InstanceRecords Enter(RuntimeDirectory directory, TimeProvider time)
    {
        Directory.CreateDirectory(directory.InstancesPath, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        HashSet<string> dead = [];
        foreach (var file in new DirectoryInfo(directory.InstancesPath).EnumerateFiles())
        {
            if (time.GetUtcNow() - file.LastWriteTimeUtc > s_kept)
            {
                file.Delete();
            }
            else if (!IsAlive(file.FullName))
            {
                dead.Add(file.Name);
            }
        }

        var id = Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(16));
        var path = Path.Combine(directory.InstancesPath, id);
        File.WriteAllText(path, string.Create(CultureInfo.InvariantCulture, $"{Environment.ProcessId} {StartOf(Environment.ProcessId)} {BootId()}\n"));
        return new InstanceRecords(path, id, dead);
    }

    /// <summary>This broker leaves nothing behind.</summary>
    public void Leave() => File.Delete(_path);

    /// <summary>The lock says that nobody else serves this directory; this is the second opinion, in case somebody removed the lock's file.</summary>
    private static bool IsAlive(string record)
    {
        // "PID START BOOT": a pid is used again, a pid with its start time in the same boot is not.
        var parts = File.ReadAllText(record).Split(' ', StringSplitOptions.TrimEntries);
        return parts.Length == 3
            && int.TryParse(parts[0], CultureInfo.InvariantCulture, out var pid)
            && parts[1].Length > 0
            && parts[2] == BootId()
            && StartOf(pid) == parts[1];
    }

    private static string BootId() =>
        File.Exists("/proc/sys/kernel/random/boot_id") ? File.ReadAllText("/proc/sys/kernel/random/boot_id").Trim() : "";

    /// <summary>When a process started, in clock ticks since boot; empty when there is none.</summary>
    private static string StartOf(int pid)
    {
        try
        {
            // The second field is the program's name in brackets and may hold anything; the start time is the 20th after it.
            var stat = File.ReadAllText($"/proc/{pid}/stat");
            var fields = stat[(stat.LastIndexOf(')') + 1)..].Split(' ', StringSplitOptions.RemoveEmptyEntries);
            return fields.Length > 19 ? fields[19] : "";
        }
        catch (IOException)
        {
            return "";
        }
    }
}
