using System.Globalization;
using System.Text;

namespace InterpreterKernel.Broker;

/// <summary>Writes metrics as Prometheus reads them (text format 0.0.4), all named <c>interpreter_kernel_…</c>.</summary>
internal sealed class MetricsText
{
    /// <summary>The content type that goes with it.</summary>
    public const string ContentType = "text/plain; version=0.0.4; charset=utf-8";

    private const string Prefix = "interpreter_kernel_";

    private readonly StringBuilder _text = new();

    public void Gauge(string name, string help, long value)
    {
        Head(name, help, "gauge");
        Line(name, null, value);
    }

    public void Gauge<T>(string name, string help, string label, IEnumerable<T> all, Func<T, (string Label, long Value)> one)
    {
        Head(name, help, "gauge");
        foreach (var item in all)
        {
            var (value, number) = one(item);
            Line(name, Label(label, value), number);
        }
    }

    public void Counter(string name, string help, long value)
    {
        Head(name, help, "counter");
        Line(name, null, value);
    }

    public void Counter(string name, string help, string label, IEnumerable<KeyValuePair<string, long>> counts)
    {
        Head(name, help, "counter");
        foreach (var (value, count) in counts.OrderBy(c => c.Key, StringComparer.Ordinal))
        {
            Line(name, Label(label, value), count);
        }
    }

    public void Histogram(string name, string help, Histogram histogram)
    {
        Head(name, help, "histogram");
        for (var i = 0; i < histogram.Bounds.Count; i++)
        {
            Line(name + "_bucket", Label("le", histogram.Bounds[i].ToString(CultureInfo.InvariantCulture)), histogram.Cumulative[i]);
        }

        Line(name + "_bucket", Label("le", "+Inf"), histogram.Count);
        Line(name + "_sum", null, histogram.Sum);
        Line(name + "_count", null, histogram.Count);
    }

    public override string ToString() => _text.ToString();

    private void Head(string name, string help, string type) =>
        _text.Append("# HELP ").Append(Prefix).Append(name).Append(' ').Append(help).Append('\n')
            .Append("# TYPE ").Append(Prefix).Append(name).Append(' ').Append(type).Append('\n');

    private void Line(string name, string? label, double value) =>
        _text.Append(Prefix).Append(name).Append(label).Append(' ').Append(value.ToString("R", CultureInfo.InvariantCulture)).Append('\n');

    // Of a value only these three may not stand for themselves.
    private static string Label(string name, string value) =>
        $"{{{name}=\"{value.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal)}\"}}";
}
