using System.Globalization;

namespace InterpreterKernel.SandboxHost.Rest;

/// <summary>
/// The size of one sandbox, as its creator over the host's own socket wants it: a metadata value such as
/// <c>memory=2147483648 disk=1073741824 cpus=2 pids=512</c> (bytes, processors, processes). Callers over TCP get the host's own sizes.
/// </summary>
internal static class ResourceTag
{
    /// <summary>The metadata key.</summary>
    internal const string Key = "interpreter-kernel.resources";

    /// <summary>Reads it over the host's own sizes. Null: it is none, or asks for less than anything runs with.</summary>
    internal static SandboxResources? Read(string? tag, SandboxResources own)
    {
        foreach (var part in (tag ?? "").Split(' ', StringSplitOptions.RemoveEmptyEntries))
        {
            var separator = part.IndexOf('=', StringComparison.Ordinal);
            if (separator < 0 || With(own, part[..separator], part.AsSpan(separator + 1)) is not { } next)
            {
                return null;
            }

            own = next;
        }

        return own.Faults().Any() ? null : own;
    }

    private static SandboxResources? With(SandboxResources own, string name, ReadOnlySpan<char> text)
    {
        if (name == "cpus")
        {
            return double.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var cpus) ? own with { Cpus = cpus } : null;
        }

        if (!long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number))
        {
            return null;
        }

        return name switch
        {
            "memory" => own with { MemoryBytes = number },
            "disk" => own with { DiskBytes = number, TmpBytes = Math.Max(number / 2, 1 << 20) },
            "pids" when number <= int.MaxValue => own with { Pids = (int)number },
            _ => null,
        };
    }
}
