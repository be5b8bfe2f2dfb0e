using System.Globalization;

namespace InterpreterKernel.Kernel.Configuration;

/// <summary>Sizes as people write them: <c>512M</c>, <c>2G</c>, <c>1.5GiB</c>; powers of 1024, a bare number is bytes.</summary>
internal static class ByteSize
{
    private static readonly (string Suffix, long Bytes)[] s_units =
    [
        ("KiB", 1L << 10), ("MiB", 1L << 20), ("GiB", 1L << 30), ("TiB", 1L << 40),
        ("K", 1L << 10), ("M", 1L << 20), ("G", 1L << 30), ("T", 1L << 40), ("B", 1),
    ];

    /// <summary>Reads a size of at least one byte and under 1 PiB.</summary>
    public static bool TryParse(string text, out long bytes)
    {
        bytes = 0;
        var number = text.Trim();
        long factor = 1;
        foreach (var (suffix, unit) in s_units)
        {
            if (number.EndsWith(suffix, StringComparison.OrdinalIgnoreCase))
            {
                number = number[..^suffix.Length].TrimEnd();
                factor = unit;
                break;
            }
        }

        if (!double.TryParse(number, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var value)
            || !(value * factor >= 1) || value * factor >= (double)(1L << 50))
        {
            return false;
        }

        bytes = (long)(value * factor);
        return true;
    }

    /// <summary>Writes a size for people: <c>517 bytes</c>, <c>3.4 MiB</c>.</summary>
    public static string Format(long bytes)
    {
        if (bytes < 1024)
        {
            return bytes == 1 ? "1 byte" : string.Create(CultureInfo.InvariantCulture, $"{bytes} bytes");
        }

        var (value, unit) = (bytes / 1024.0, 0);
        while (value >= 1023.95 && unit < 3)
        {
            (value, unit) = (value / 1024, unit + 1);
        }

        return string.Create(CultureInfo.InvariantCulture, $"{value:0.#} {s_units[unit].Suffix}");
    }
}
