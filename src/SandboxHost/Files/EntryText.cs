using System.Globalization;
using System.Text;
using Google.Protobuf.WellKnownTypes;
using InterpreterKernel.Protocol.Envd;

namespace InterpreterKernel.SandboxHost.Files;

/// <summary>
/// Reads what a file task says about files. Layout (entries.py says the same): nine texts for each entry, each ended by
/// a zero byte:
/// <code>
/// path | st_mode | size | owner | group | time of change in ns | mode of a link's target | the target | metadata
/// </code>
/// The mode of the target is empty when it is no link, and 0 when the link leads nowhere.
/// </summary>
internal static class EntryText
{
    private const int FieldCount = 9;
    private const uint KindMask = 0xF000;
    private const uint Link = 0xA000;
    private const uint Directory = 0x4000;
    private const uint Regular = 0x8000;

    /// <exception cref="FileTaskException">It is not what entries.py writes.</exception>
    internal static IEnumerable<EntryInfo> ParseAll(ReadOnlyMemory<byte> bytes)
    {
        while (bytes.Length > 0)
        {
            var fields = new string[FieldCount];
            for (var i = 0; i < FieldCount; i++)
            {
                var end = bytes.Span.IndexOf((byte)0);
                fields[i] = end >= 0 ? Encoding.UTF8.GetString(bytes.Span[..end]) : throw Nonsense();
                bytes = bytes[(end + 1)..];
            }

            yield return Entry(fields);
        }
    }

    /// <summary>A time as the system counts it; what .NET can't hold is cut to what it can.</summary>
    internal static DateTimeOffset Time(long nanoseconds)
    {
        const long ticks = 100;
        return DateTimeOffset.UnixEpoch.AddTicks(nanoseconds / ticks);
    }

    /// <summary>
    /// A mode as Go's os.FileMode writes it: a letter for each kind and special bit, or a dash, then the permissions.
    /// </summary>
    internal static string Permissions(uint mode)
    {
        var text = new StringBuilder();
        text.Append((mode & KindMask) switch
        {
            Directory => "d",
            Link => "L",
            0x6000 => "D",
            0x2000 => "Dc",
            0x1000 => "p",
            0xC000 => "S",
            _ => "",
        });

        // Go's order is setuid, setgid, character device, sticky; a device has no special bits in practice.
        text.Append((mode & 0x800) != 0 ? "u" : "").Append((mode & 0x400) != 0 ? "g" : "").Append((mode & 0x200) != 0 ? "t" : "");
        if (text.Length == 0)
        {
            text.Append('-');
        }

        for (var bit = 8; bit >= 0; bit--)
        {
            text.Append((mode >> bit & 1) != 0 ? "xwr"[bit % 3] : '-');
        }

        return text.ToString();
    }

    private static EntryInfo Entry(string[] fields)
    {
        var mode = Number(fields[1]);
        var isLink = fields[6].Length > 0;
        var shown = isLink ? Number(fields[6]) : mode;
        var changed = long.TryParse(fields[5], CultureInfo.InvariantCulture, out var nanoseconds) ? nanoseconds : throw Nonsense();
        var entry = new EntryInfo
        {
            Path = fields[0],
            Name = fields[0][(fields[0].LastIndexOf('/') + 1)..] is { Length: > 0 } name ? name : "/",
            Type = (shown & KindMask) switch
            {
                Regular => FileType.File,
                Directory => FileType.Directory,
                _ => FileType.Unspecified,
            },
            Size = long.TryParse(fields[2], CultureInfo.InvariantCulture, out var size) ? size : throw Nonsense(),
            Mode = shown & 0x1FF,
            Permissions = Permissions(mode),
            Owner = fields[3],
            Group = fields[4],
            ModifiedTime = Timestamp(changed),
        };
        if (isLink)
        {
            entry.SymlinkTarget = fields[7];
        }

        foreach (var pair in fields[8].Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            var at = pair.IndexOf('=', StringComparison.Ordinal);
            entry.Metadata[at < 0 ? pair : pair[..at]] = at < 0 ? "" : pair[(at + 1)..];
        }

        return entry;
    }

    private static Timestamp Timestamp(long nanoseconds)
    {
        var (seconds, rest) = Math.DivRem(nanoseconds, 1_000_000_000L);
        return rest >= 0
            ? new Timestamp { Seconds = seconds, Nanos = (int)rest }
            : new Timestamp { Seconds = seconds - 1, Nanos = (int)(rest + 1_000_000_000L) };
    }

    private static uint Number(string text) => uint.TryParse(text, CultureInfo.InvariantCulture, out var number) ? number : throw Nonsense();

    private static FileTaskException Nonsense() => new(5, "the answer from inside the sandbox makes no sense");
}
