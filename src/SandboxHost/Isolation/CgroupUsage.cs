using System.Globalization;

namespace InterpreterKernel.SandboxHost.Isolation;

/// <summary>What the processes of a cgroup use. Figures that the kernel does not offer here are zero.</summary>
/// <param name="Cpu">Processor time used so far.</param>
/// <param name="Memory">Bytes in use, without file cache that could be dropped; files in memory (tmpfs) count.</param>
/// <param name="Cache">Bytes of file cache, tmpfs included.</param>
internal readonly record struct CgroupUsage(TimeSpan Cpu, long Memory, long Cache)
{
    private const string Mount = "/sys/fs/cgroup";

    /// <summary>Reads it for the cgroups of a process, cgroup v1, v2 or both (hybrid).</summary>
    internal static CgroupUsage Read(int pid)
    {
        // "hierarchy:controllers:path"; v2 is "0::path".
        var places = ReadLines($"/proc/{pid}/cgroup").Select(line => line.Split(':', 3)).Where(parts => parts.Length == 3).ToList();
        string? Place(string controller) => places.FirstOrDefault(p => p[1].Split(',').Contains(controller)) is { } found ? $"{Mount}/{controller}{found[2]}" : null;
        var unified = places.FirstOrDefault(p => p[1].Length == 0) is { } v2 ? Mount + v2[2] : Mount;
        var cpu = Place("cpuacct") is { } accounting
            ? TimeSpan.FromTicks(Number(accounting + "/cpuacct.usage") / 100)
            : TimeSpan.FromMicroseconds(Field(unified + "/cpu.stat", "usage_usec"));
        if (Place("memory") is { } memory)
        {
            var statistics = memory + "/memory.stat";
            return new(cpu, Math.Max(Number(memory + "/memory.usage_in_bytes") - Field(statistics, "total_inactive_file"), 0), Field(statistics, "total_cache"));
        }

        return new(cpu, Math.Max(Number(unified + "/memory.current") - Field(unified + "/memory.stat", "inactive_file"), 0), Field(unified + "/memory.stat", "file"));
    }

    private static long Field(string path, string name) =>
        ReadLines(path).Select(line => line.Split(' ')).FirstOrDefault(parts => parts[0] == name) is [_, var value] ? Parse(value) : 0;

    private static long Number(string path) => ReadLines(path).FirstOrDefault() is { } text ? Parse(text) : 0;

    private static long Parse(string text) => long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : 0;

    private static string[] ReadLines(string path)
    {
        try
        {
            return File.ReadAllLines(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Not offered here, or the sandbox is going.
            return [];
        }
    }
}
