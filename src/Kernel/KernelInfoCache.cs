using System.Buffers;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using InterpreterKernel.Kernel.Lifecycle;

namespace InterpreterKernel.Kernel;

/// <summary>
/// The kernel_info_reply of a template's kernel, kept from its last run, so that the next start can answer at once: the wait
/// then moves into the first cell, where clients have patience (jupyter-wire.md section 4.1, policy b).
/// </summary>
internal sealed class KernelInfoCache
{
    private const int MostBytes = 1 << 20;
    private readonly string? _file;
    private readonly KernelLog _log;

    private KernelInfoCache(string? file, byte[]? content, KernelLog log)
    {
        _file = file;
        // Spelt out: a null array would convert to an empty memory, which is not null.
        Content = content is null ? null : new ReadOnlyMemory<byte>?(content);
        Language = content is null ? null : LanguageOf(content);
        _log = log;
    }

    /// <summary>The reply's content, a JSON object; null while none is known.</summary>
    public ReadOnlyMemory<byte>? Content { get; private set; }

    /// <summary>The language of its cells, such as <c>python</c>; null while none is known.</summary>
    public string? Language { get; private set; }

    /// <summary>Opens what was kept.</summary>
    /// <param name="directory">Where; null keeps nothing.</param>
    /// <param name="what">All that a different reply could depend on: service, template, kernel, interpreter.</param>
    /// <param name="log">Told when the file can't be used.</param>
    public static KernelInfoCache Open(string? directory, IEnumerable<string?> what, KernelLog log)
    {
        if (directory is null)
        {
            return new KernelInfoCache(null, null, log);
        }

        var key = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(string.Join('\n', what))).AsSpan(0, 16));
        var file = Path.Combine(directory, key + ".json");
        byte[]? content = null;
        try
        {
            if (File.Exists(file) && new FileInfo(file).Length <= MostBytes)
            {
                content = File.ReadAllBytes(file);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            log.Debug($"{file} can't be read: {e.Message}");
        }

        return new KernelInfoCache(file, content is not null && IsKernelInfo(content) ? content : null, log);
    }

    /// <summary>Takes over what the kernel itself said, and keeps it when it is news.</summary>
    public void Learn(ReadOnlyMemory<byte> content)
    {
        if (content.Length is 0 or > MostBytes || !IsKernelInfo(content.Span) || (Content is { } known && known.Span.SequenceEqual(content.Span)))
        {
            return;
        }

        Content = new ReadOnlyMemory<byte>(content.ToArray());
        Language = LanguageOf(content);
        if (_file is null)
        {
            return;
        }

        try
        {
            // Whole or not at all: another kernel may be reading it.
            Directory.CreateDirectory(Path.GetDirectoryName(_file)!);
            var temporary = $"{_file}.{Environment.ProcessId}";
            File.WriteAllBytes(temporary, content.Span);
            File.Move(temporary, _file, overwrite: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            _log.Debug($"{_file} can't be written, so the next start will not be quicker: {e.Message}");
        }
    }

    /// <summary>A reply for a client that would otherwise wait for ever: no sandbox could be had, and the banner says why.</summary>
    public static ReadOnlyMemory<byte> Placeholder(string reason)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(buffer))
        {
            writer.WriteStartObject();
            writer.WriteString("status", "ok");
            writer.WriteString("protocol_version", "5.3");
            writer.WriteString("implementation", "interpreter-kernel");
            writer.WriteString("implementation_version", typeof(KernelInfoCache).Assembly.GetName().Version?.ToString(3) ?? "0");
            writer.WriteStartObject("language_info");
            writer.WriteString("name", "python");
            writer.WriteString("version", "3");
            writer.WriteString("mimetype", "text/x-python");
            writer.WriteString("file_extension", ".py");
            writer.WriteEndObject();
            writer.WriteString("banner", reason);
            writer.WriteStartArray("help_links");
            writer.WriteEndArray();
            writer.WriteEndObject();
        }

        return buffer.WrittenMemory;
    }

    private static string? LanguageOf(ReadOnlyMemory<byte> content)
    {
        using var document = JsonDocument.Parse(content);
        return document.RootElement.GetProperty("language_info").TryGetProperty("name", out var name) && name.ValueKind == JsonValueKind.String
            ? name.GetString()
            : null;
    }

    private static bool IsKernelInfo(ReadOnlySpan<byte> content)
    {
        try
        {
            var reader = new Utf8JsonReader(content);
            using var document = JsonDocument.ParseValue(ref reader);
            return document.RootElement.ValueKind == JsonValueKind.Object
                && document.RootElement.TryGetProperty("language_info", out var language)
                && language.ValueKind == JsonValueKind.Object
                && document.RootElement.TryGetProperty("protocol_version", out _)
                && document.RootElement.TryGetProperty("status", out var status)
                && status.ValueEquals("ok");
        }
        catch (JsonException)
        {
            return false;
        }
    }
}
