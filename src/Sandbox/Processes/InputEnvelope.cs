using System.Buffers.Binary;
using InterpreterKernel.Protocol.Connect;

namespace InterpreterKernel.Sandbox.Processes;

/// <summary>
/// A StreamInputRequest with data, in its envelope, written by hand so that the data are copied once:
/// <code>
/// 00 length(4)            envelope
///   12 len                data event of the request (field 2)
///     12 len              its input (field 2, not 1)
///       0A len bytes      stdin (12: pty)
/// </code>
/// </summary>
internal static class InputEnvelope
{
    /// <summary>Envelope header, and three tags with lengths of at most five bytes.</summary>
    public const int MaxOverhead = Envelope.HeaderLength + (3 * 6);

    /// <returns>How many bytes were written.</returns>
    public static int Write(Span<byte> output, ReadOnlySpan<byte> data, bool terminal)
    {
        var innermost = 1 + VarintSize(data.Length) + data.Length;
        var inner = 1 + VarintSize(innermost) + innermost;
        var message = 1 + VarintSize(inner) + inner;
        output[0] = 0;
        BinaryPrimitives.WriteUInt32BigEndian(output[1..], (uint)message);
        var at = Envelope.HeaderLength;
        Field(output, 0x12, inner, ref at);
        Field(output, 0x12, innermost, ref at);
        Field(output, terminal ? (byte)0x12 : (byte)0x0A, data.Length, ref at);
        data.CopyTo(output[at..]);
        return at + data.Length;
    }

    private static void Field(Span<byte> output, byte tag, int length, ref int at)
    {
        output[at++] = tag;
        var rest = (uint)length;
        while (rest >= 0x80)
        {
            output[at++] = (byte)(rest | 0x80);
            rest >>= 7;
        }

        output[at++] = (byte)rest;
    }

    private static int VarintSize(int value)
    {
        var size = 1;
        for (var rest = (uint)value; rest >= 0x80; rest >>= 7)
        {
            size++;
        }

        return size;
    }
}
