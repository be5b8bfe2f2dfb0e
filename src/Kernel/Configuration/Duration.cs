using System.Globalization;

namespace InterpreterKernel.Kernel.Configuration;

/// <summary>Durations as people write them: <c>500ms</c>, <c>30s</c>, <c>5m</c>, <c>2h</c>; a bare number is seconds.</summary>
internal static class Duration
{
    /// <summary>How no limit at all is written.</summary>
    public const string None = "none";

    private static readonly (string Suffix, double Seconds)[] s_units = [("ms", 0.001), ("s", 1), ("m", 60), ("h", 3600)];

    /// <summary>Reads a duration of more than nothing and at most 30 days.</summary>
    public static bool TryParse(string text, out TimeSpan duration)
    {
        duration = default;
        var number = text.Trim();
        var factor = 1.0;
        foreach (var (suffix, seconds) in s_units)
        {
            if (number.EndsWith(suffix, StringComparison.OrdinalIgnoreCase))
            {
                number = number[..^suffix.Length].TrimEnd();
                factor = seconds;
                break;
            }
        }

        if (!double.TryParse(number, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var value)
            || !(value > 0) || value * factor > TimeSpan.FromDays(30).TotalSeconds)
        {
            return false;
        }

        duration = TimeSpan.FromSeconds(value * factor);
        return true;
    }

    /// <summary>Writes a duration the way <see cref="TryParse"/> reads it.</summary>
    public static string Format(TimeSpan duration) => duration.TotalSeconds switch
    {
        < 1 => string.Create(CultureInfo.InvariantCulture, $"{duration.TotalMilliseconds:0.###}ms"),
        var s when s >= 3600 && s % 3600 == 0 => string.Create(CultureInfo.InvariantCulture, $"{s / 3600:0}h"),
        var s when s >= 60 && s % 60 == 0 => string.Create(CultureInfo.InvariantCulture, $"{s / 60:0}m"),
        var s => string.Create(CultureInfo.InvariantCulture, $"{s:0.###}s"),
    };
}
