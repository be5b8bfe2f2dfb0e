using System.Buffers.Binary;
using System.Text;

namespace InterpreterKernel.SandboxHost.Agent;

/// <summary>
/// The frames between host and agent. Layout (agent.py says the same):
/// <code>
/// bytes 0..3  length of what follows, big-endian
/// byte 4      kind
/// byte 5      how many descriptors travel beside it
/// bytes 6..9  id of the request, big-endian
/// then        fields: each 4 bytes of length, big-endian, and as many bytes
/// </code>
/// </summary>
internal static class AgentFrame
{
    internal const byte Spawn = 1;
    internal const byte Signal = 2;
    internal const byte Task = 3;
    internal const byte Socket = 4;
    internal const byte Disk = 5;

    internal const byte Terminal = 10;
    internal const byte Resize = 11;

    internal const byte Ready = 1;
    internal const byte Started = 2;
    internal const byte Failed = 3;
    internal const byte Exited = 4;

    internal const int HeaderLength = 10;

    /// <summary>The largest frame the agent takes; the kernel's own limit on arguments is 2 MiB.</summary>
    internal const int MaxToAgent = 8 * 1024 * 1024;

    /// <summary>The largest frame taken from the agent: it only ever reports numbers and short texts.</summary>
    internal const int MaxFromAgent = 64 * 1024;

    private const int MaxFields = 8;

    internal static byte[] Encode(byte kind, int descriptors, uint request, IReadOnlyList<string> fields)
    {
        var size = HeaderLength;
        foreach (var field in fields)
        {
            size = checked(size + 4 + Encoding.UTF8.GetByteCount(field));
        }

        var frame = new byte[size];
        BinaryPrimitives.WriteInt32BigEndian(frame, size - 4);
        frame[4] = kind;
        frame[5] = (byte)descriptors;
        BinaryPrimitives.WriteUInt32BigEndian(frame.AsSpan(6), request);
        var at = HeaderLength;
        foreach (var field in fields)
        {
            var length = Encoding.UTF8.GetBytes(field, frame.AsSpan(at + 4));
            BinaryPrimitives.WriteInt32BigEndian(frame.AsSpan(at), length);
            at += 4 + length;
        }

        return frame;
    }

    /// <summary>Takes one frame off the front; 0 when more bytes are needed, else the bytes used.</summary>
    /// <exception cref="InvalidDataException">It can't be a frame of our agent.</exception>
    internal static int TryDecode(ReadOnlySpan<byte> buffer, out byte kind, out uint request, out string[] fields)
    {
        kind = 0;
        request = 0;
        fields = [];
        if (buffer.Length < HeaderLength)
        {
            return 0;
        }

        var size = BinaryPrimitives.ReadUInt32BigEndian(buffer);
        if (size < HeaderLength - 4 || size > MaxFromAgent)
        {
            throw new InvalidDataException($"a frame of {size} bytes came from the sandbox's agent");
        }

        if (buffer.Length < (int)size + 4)
        {
            return 0;
        }

        kind = buffer[4];
        request = BinaryPrimitives.ReadUInt32BigEndian(buffer[6..]);
        var rest = buffer[HeaderLength..((int)size + 4)];
        var found = new List<string>();
        while (rest.Length > 0)
        {
            if (rest.Length < 4 || BinaryPrimitives.ReadUInt32BigEndian(rest) > rest.Length - 4 || found.Count == MaxFields)
            {
                throw new InvalidDataException("a frame from the sandbox's agent has a field that does not fit");
            }

            var length = BinaryPrimitives.ReadInt32BigEndian(rest);
            found.Add(Encoding.UTF8.GetString(rest.Slice(4, length)));
            rest = rest[(4 + length)..];
        }

        fields = [.. found];
        return (int)size + 4;
    }
}
