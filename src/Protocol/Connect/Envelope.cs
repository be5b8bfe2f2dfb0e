using System.Buffers;
using System.Buffers.Binary;
using System.Text.Json;

namespace InterpreterKernel.Protocol.Connect;

/// <summary>
/// One unit of a Connect stream. Layout (connectrpc.com, "Streaming RPCs"):
/// <code>
/// byte 0      flags: 0x01 payload is compressed, 0x02 end of stream
/// bytes 1..4  length of the payload, big-endian
/// bytes 5..   payload: a message, or at the end {} or {"error":{"code":…,"message":…}}
/// </code>
/// Envelopes may be cut and joined anywhere on the way; <see cref="TryRead"/> needs only their bytes in order.
/// </summary>
public static class Envelope
{
    /// <summary>Bytes before the payload.</summary>
    public const int HeaderLength = 5;

    /// <summary>Flag: the payload is compressed. We never ask for it, so it is refused.</summary>
    public const byte Compressed = 0x01;

    /// <summary>Flag: the last envelope of a stream.</summary>
    public const byte EndOfStream = 0x02;

    /// <summary>The largest payload taken unless the caller says otherwise, in bytes (64 MiB).</summary>
    public const int DefaultMaxPayload = 64 * 1024 * 1024;

    /// <summary>
    /// Takes the first envelope off <paramref name="buffer"/>. False means that more bytes are needed; the buffer is
    /// then unchanged.
    /// </summary>
    /// <exception cref="EnvelopeException">The flags are unknown, or the length is over <paramref name="maxPayload"/>.</exception>
    public static bool TryRead(ref ReadOnlySequence<byte> buffer, out byte flags, out ReadOnlySequence<byte> payload, int maxPayload = DefaultMaxPayload)
    {
        flags = 0;
        payload = default;
        if (buffer.Length < HeaderLength)
        {
            return false;
        }

        Span<byte> header = stackalloc byte[HeaderLength];
        buffer.Slice(0, HeaderLength).CopyTo(header);
        flags = header[0];
        if ((flags & ~EndOfStream) != 0)
        {
            throw new EnvelopeException((flags & Compressed) != 0
                ? "a compressed envelope came, though no compression was agreed"
                : $"an envelope has unknown flags 0x{flags:x2}");
        }

        var length = BinaryPrimitives.ReadUInt32BigEndian(header[1..]);
        if (length > (uint)maxPayload)
        {
            throw new EnvelopeException($"an envelope of {length} bytes is over the limit of {maxPayload}");
        }

        if (buffer.Length - HeaderLength < length)
        {
            return false;
        }

        payload = buffer.Slice(HeaderLength, length);
        buffer = buffer.Slice(HeaderLength + (long)length);
        return true;
    }

    /// <summary>Writes flags and length; the payload of <paramref name="length"/> bytes must follow.</summary>
    public static void WriteHeader(IBufferWriter<byte> output, byte flags, int length)
    {
        var header = output.GetSpan(HeaderLength);
        header[0] = flags;
        BinaryPrimitives.WriteUInt32BigEndian(header[1..], (uint)length);
        output.Advance(HeaderLength);
    }

    /// <summary>Writes the last envelope of a stream, with the error it ended with, if any.</summary>
    public static void WriteEnd(IBufferWriter<byte> output, ConnectError? error)
    {
        var json = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(json))
        {
            writer.WriteStartObject();
            if (error is not null)
            {
                writer.WritePropertyName("error");
                error.Write(writer);
            }

            writer.WriteEndObject();
        }

        WriteHeader(output, EndOfStream, json.WrittenCount);
        output.Write(json.WrittenSpan);
    }

    /// <summary>Reads the payload of an end-of-stream envelope: the error it carries, or null for success.</summary>
    /// <exception cref="EnvelopeException">The payload is not a JSON object.</exception>
    public static ConnectError? ReadEnd(in ReadOnlySequence<byte> payload)
    {
        try
        {
            using var document = JsonDocument.Parse(payload);
            if (document.RootElement.ValueKind != JsonValueKind.Object)
            {
                throw new EnvelopeException("the end of the stream is not a JSON object");
            }

            return document.RootElement.TryGetProperty("error", out var error) && error.ValueKind != JsonValueKind.Null
                ? ConnectError.FromElement(error) ?? new ConnectError(ConnectCode.Unknown, error.GetRawText())
                : null;
        }
        catch (JsonException e)
        {
            throw new EnvelopeException("the end of the stream is not JSON: " + e.Message);
        }
    }
}

/// <summary>Bytes came that are no Connect stream. The stream can't be resynchronised and must be given up.</summary>
public sealed class EnvelopeException : Exception
{
    /// <summary>Makes it with a text that says what was wrong.</summary>
    public EnvelopeException(string message)
        : base(message)
    {
    }
}
