using System.Buffers;
using System.Globalization;
using System.Text.Json;
using InterpreterKernel.Kernel.Configuration;
using InterpreterKernel.Protocol.Jupyter;

namespace InterpreterKernel.Kernel.Timeouts;

/// <summary>The error of a cell that ran too long: which limit, how long it ran, which rung stopped it, what survives.</summary>
internal static class CellTimeout
{
    /// <summary>Its name in the cell.</summary>
    public const string Name = "CellTimeout";

    private static readonly JsonWriterOptions s_json = new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>The cell was stopped.</summary>
    /// <param name="rung">What stopped it.</param>
    /// <param name="ran">How long it ran.</param>
    /// <param name="limit">The limit that ran out.</param>
    /// <param name="caught">It caught the interrupt and ended as if nothing had been.</param>
    /// <param name="goesOn">Cells behind it run although variables are lost.</param>
    public static CellError Stopped(Rung rung, TimeSpan ran, Limit limit, bool caught, bool goesOn)
    {
        var behind = goesOn ? "the cells behind it run without them" : "the cells behind it were not run";
        var how = rung switch
        {
            Rung.Interrupt or Rung.SecondInterrupt when caught =>
                "It caught the interrupt and ended by itself; variables and files are kept",
            Rung.Interrupt => "An interrupt stopped it; variables and files are kept",
            Rung.SecondInterrupt => "The second interrupt stopped it; variables and files are kept",
            Rung.RestartKernel =>
                $"Two interrupts did not stop it, so the kernel process was killed and started again; variables are lost ({behind}), files are kept",
            _ => $"Neither interrupts nor killing the kernel process stopped it, so the sandbox was killed; variables and files are lost ({behind}), and the next cell gets a new sandbox",
        };
        var part = limit.IsShared
            ? $"all cells together may run {Duration.Format(limit.Time)} ({limit.Source})"
            : $"it may run {Duration.Format(limit.Time)} ({limit.Source})";
        return CellError.Plain(Name, $"The cell was stopped after {Seconds(ran)}: {part}. {how} (rung {(int)rung} of 4).");
    }

    /// <summary>The cell was not run.</summary>
    public static CellError NothingLeft(Limit limit, TimeSpan spent) => CellError.Plain(
        Name,
        $"The cell was not run: all cells together may run {Duration.Format(limit.Time)} ({limit.Source}), and they have run {Seconds(spent)}. Variables and files are kept. Restart the kernel to begin anew.");

    /// <summary>
    /// The kernel's own words about the end of a cell, as a timeout: the kernel's traceback stays, so that the line is visible, and ours
    /// follows it. Members that we do not know stay too.
    /// </summary>
    /// <param name="content">The content of an <c>error</c> or <c>execute_reply</c>.</param>
    /// <param name="error">What is said instead.</param>
    /// <param name="isReply">Whether it needs a status.</param>
    public static ReadOnlyMemory<byte> Rewrite(ReadOnlyMemory<byte> content, CellError error, bool isReply)
    {
        var buffer = new ArrayBufferWriter<byte>(content.Length + 512);
        using (var writer = new Utf8JsonWriter(buffer, s_json))
        using (var document = Parse(content))
        {
            writer.WriteStartObject();
            if (isReply)
            {
                writer.WriteString("status", "error");
            }

            writer.WriteString("ename", error.Name);
            writer.WriteString("evalue", error.Value);
            writer.WriteStartArray("traceback");
            if (document.RootElement.TryGetProperty("traceback", out var traceback) && traceback.ValueKind == JsonValueKind.Array)
            {
                foreach (var line in traceback.EnumerateArray())
                {
                    line.WriteTo(writer);
                }
            }

            foreach (var line in error.Traceback)
            {
                writer.WriteStringValue(line);
            }

            writer.WriteEndArray();
            foreach (var member in document.RootElement.EnumerateObject())
            {
                if (member.Name is not ("ename" or "evalue" or "traceback") && (!isReply || member.Name != "status"))
                {
                    member.WriteTo(writer);
                }
            }

            writer.WriteEndObject();
        }

        return buffer.WrittenMemory;
    }

    private static JsonDocument Parse(ReadOnlyMemory<byte> content)
    {
        try
        {
            var document = JsonDocument.Parse(content);
            if (document.RootElement.ValueKind == JsonValueKind.Object)
            {
                return document;
            }

            document.Dispose();
        }
        catch (JsonException)
        {
            // The kernel's nonsense: then only our words are left.
        }

        return JsonDocument.Parse("{}");
    }

    private static string Seconds(TimeSpan time) => string.Create(CultureInfo.InvariantCulture, $"{time.TotalSeconds:0.0} s");
}
