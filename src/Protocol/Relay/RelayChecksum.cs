using System.Buffers;
using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace InterpreterKernel.Protocol.Relay;

/// <summary>
/// CRC-32 as zlib computes it, which is the one Python's standard library has. The framework's own is in a package, and the
/// processor's instruction on x86 has another polynomial. So: 64 bytes a step by carry-less multiplication where the processor
/// has it (Intel, "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ"), else eight by tables ("slicing by eight").
/// </summary>
public static class RelayChecksum
{
    private const uint Polynomial = 0xedb88320;
    private const int Slices = 8;

    // Below this the multiplication does not pay off.
    private const int Folding = 128;

    private static readonly uint[] s_table = MakeTable();

    /// <summary>The checksum of some bytes.</summary>
    public static uint Of(ReadOnlySpan<byte> bytes) => ~Append(uint.MaxValue, bytes);

    /// <summary>The checksum of some bytes in segments.</summary>
    public static uint Of(in ReadOnlySequence<byte> bytes)
    {
        var crc = uint.MaxValue;
        foreach (var segment in bytes)
        {
            crc = Append(crc, segment.Span);
        }

        return ~crc;
    }

    private static uint Append(uint crc, ReadOnlySpan<byte> bytes) =>
        Pclmulqdq.IsSupported && bytes.Length >= Folding ? AppendFolding(crc, bytes) : AppendByTable(crc, bytes);

    /// <summary>
    /// Replaces the bytes by 16 that have the same remainder: each block of 16 is multiplied by x to the power of its distance to
    /// the block it is added to, modulo the polynomial, its halves apart. The remainder of those 16 is the tables' affair.
    /// </summary>
    private static uint AppendFolding(uint crc, ReadOnlySpan<byte> bytes)
    {
        // x^(512±32) and x^(128±32) modulo the polynomial, bits reflected as in the data.
        var by64 = Vector128.Create(0x1_5444_2bd4UL, 0x1_c6e4_1596UL);
        var by16 = Vector128.Create(0x1_7519_97d0UL, 0x0_ccaa_009eUL);
        var blocks = MemoryMarshal.Cast<byte, Vector128<ulong>>(bytes);
        var (first, second, third, fourth) = (blocks[0] ^ Vector128.CreateScalar((ulong)crc), blocks[1], blocks[2], blocks[3]);
        var at = 4;
        for (; at + 4 <= blocks.Length; at += 4)
        {
            first = Fold(first, by64) ^ blocks[at];
            second = Fold(second, by64) ^ blocks[at + 1];
            third = Fold(third, by64) ^ blocks[at + 2];
            fourth = Fold(fourth, by64) ^ blocks[at + 3];
        }

        var one = Fold(Fold(Fold(first, by16) ^ second, by16) ^ third, by16) ^ fourth;
        for (; at < blocks.Length; at++)
        {
            one = Fold(one, by16) ^ blocks[at];
        }

        Span<byte> rest = stackalloc byte[Vector128<byte>.Count];
        one.AsByte().CopyTo(rest);
        return AppendByTable(AppendByTable(0, rest), bytes[(at * Vector128<byte>.Count)..]);
    }

    private static Vector128<ulong> Fold(Vector128<ulong> block, Vector128<ulong> by) =>
        Pclmulqdq.CarrylessMultiply(block, by, 0x00) ^ Pclmulqdq.CarrylessMultiply(block, by, 0x11);

    private static uint AppendByTable(uint crc, ReadOnlySpan<byte> bytes)
    {
        var table = s_table.AsSpan(0, Slices * 256);
        while (bytes.Length >= Slices)
        {
            var low = BinaryPrimitives.ReadUInt32LittleEndian(bytes) ^ crc;
            var high = BinaryPrimitives.ReadUInt32LittleEndian(bytes[4..]);
            crc = table[(7 * 256) + (byte)low]
                ^ table[(6 * 256) + (byte)(low >> 8)]
                ^ table[(5 * 256) + (byte)(low >> 16)]
                ^ table[(4 * 256) + (byte)(low >> 24)]
                ^ table[(3 * 256) + (byte)high]
                ^ table[(2 * 256) + (byte)(high >> 8)]
                ^ table[256 + (byte)(high >> 16)]
                ^ table[(byte)(high >> 24)];
            bytes = bytes[Slices..];
        }

        foreach (var value in bytes)
        {
            crc = table[(byte)(crc ^ value)] ^ (crc >> 8);
        }

        return crc;
    }

    private static uint[] MakeTable()
    {
        var table = new uint[Slices * 256];
        for (var i = 0; i < 256; i++)
        {
            var crc = (uint)i;
            for (var bit = 0; bit < 8; bit++)
            {
                crc = (crc >> 1) ^ ((crc & 1) * Polynomial);
            }

            table[i] = crc;
        }

        for (var i = 256; i < table.Length; i++)
        {
            table[i] = table[(byte)table[i - 256]] ^ (table[i - 256] >> 8);
        }

        return table;
    }
}
