using System.Buffers;
using System.Text.Json;

namespace InterpreterKernel.Protocol.Relay;

/// <summary>What each side says first on a new attachment.</summary>
/// <param name="Link">The id of the bridge process. A new one makes the relay forget what it kept for the one before.</param>
/// <param name="ReceivedBulk">Highest bulk number received: what follows it is to be sent, again or for the first time.</param>
/// <param name="ReceivedUrgent">The same for the urgent lane.</param>
public sealed record RelayHello(string Link, ulong ReceivedBulk, ulong ReceivedUrgent)
{
    /// <summary>The version this code speaks.</summary>
    public const int Version = 1;

    /// <summary>From the relay: changes when the daemon was replaced, and the kernel with it. Null from the bridge.</summary>
    public string? Instance { get; init; }

    /// <summary>From the relay: none, starting, running or dead.</summary>
    public string? KernelState { get; init; }

    /// <summary>From the relay: the process id of the kernel, if there is one.</summary>
    public int? KernelPid { get; init; }

    /// <summary>From the relay: its own process id.</summary>
    public int? RelayPid { get; init; }

    /// <summary>
    /// Whether the frames behind this one are checked. Not where nothing lies between the two that could change a byte: then their checksums
    /// may hold anything.
    /// </summary>
    public bool IsChecked { get; init; } = true;

    /// <summary>Makes the bridge's HELLO frame.</summary>
    public byte[] Encode()
    {
        var json = new ArrayBufferWriter<byte>(256);
        using (var writer = new Utf8JsonWriter(json))
        {
            writer.WriteStartObject();
            writer.WriteNumber("version", Version);
            writer.WriteString("role", "bridge");
            writer.WriteString("link", Link);
            writer.WriteStartObject("received");
            writer.WriteNumber("bulk", ReceivedBulk);
            writer.WriteNumber("urgent", ReceivedUrgent);
            writer.WriteEndObject();
            writer.WriteBoolean("checksums", IsChecked);
            writer.WriteEndObject();
        }

        return RelayCodec.Encode(RelayFrameKind.Hello, 0, json.WrittenSpan);
    }

    /// <summary>Reads the payload of the relay's HELLO.</summary>
    /// <exception cref="RelayProtocolException">It is not one, or of another version.</exception>
    public static RelayHello Decode(in ReadOnlySequence<byte> payload)
    {
        try
        {
            using var document = JsonDocument.Parse(payload);
            var root = document.RootElement;
            var version = root.GetProperty("version").GetInt32();
            if (version != Version)
            {
                throw new RelayProtocolException($"the relay speaks version {version}; this kernel speaks {Version}");
            }

            var received = root.GetProperty("received");
            return new RelayHello(
                root.GetProperty("link").GetString() ?? "", received.GetProperty("bulk").GetUInt64(), received.GetProperty("urgent").GetUInt64())
            {
                Instance = root.GetProperty("instance").GetString(),
                KernelState = root.GetProperty("kernel").GetString(),
                KernelPid = Pid(root, "pid"),
                RelayPid = Pid(root, "relay_pid"),
                IsChecked = !root.TryGetProperty("checksums", out var checksums) || checksums.GetBoolean(),
            };
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
        {
            throw new RelayProtocolException("a HELLO that is none: " + e.Message, e);
        }
    }

    private static int? Pid(JsonElement root, string name) =>
        root.TryGetProperty(name, out var pid) && pid.ValueKind == JsonValueKind.Number ? pid.GetInt32() : null;
}
