using System.Buffers;
using InterpreterKernel.Protocol.Relay;

namespace InterpreterKernel.Kernel.Remote;

/// <summary>
/// Finds frames in the bytes of one attachment, which come cut anywhere. They are read into its buffer and stay where they are; only the
/// beginning of a frame that reaches over the end is moved.
/// </summary>
internal sealed class RelayLinkFrames
{
    // Less room than this makes reads too small to be worth their calls.
    private const int SmallestRead = 64 * 1024;

    // Room for the largest frame. Of the pages that are never written to none is taken.
    private readonly byte[] _buffer = GC.AllocateUninitializedArray<byte>(RelayCodec.MaxPayload + RelayCodec.Overhead + SmallestRead);
    private int _start;
    private int _end;

    /// <summary>Whether checksums are looked at; so it is until both sides have said that they need none.</summary>
    public bool IsChecked { get; set; } = true;

    /// <summary>Where the next bytes go; frames that were read before are not valid any more.</summary>
    public Memory<byte> Room()
    {
        if (_start == _end)
        {
            _start = _end = 0;
        }
        else if (_buffer.Length - _end < SmallestRead)
        {
            _buffer.AsSpan(_start, _end - _start).CopyTo(_buffer);
            (_start, _end) = (0, _end - _start);
        }

        return _buffer.AsMemory(_end);
    }

    /// <summary>So many bytes came.</summary>
    public void Add(int count) => _end += count;

    /// <summary>The next whole frame, valid until there is to be <see cref="Room"/> again; false when there is none yet.</summary>
    /// <exception cref="RelayProtocolException">These bytes are no frames.</exception>
    public bool TryRead(out RelayFrame frame)
    {
        var rest = new ReadOnlySequence<byte>(_buffer, _start, _end - _start);
        if (!RelayCodec.TryRead(ref rest, out frame, IsChecked))
        {
            return false;
        }

        _start = _end - (int)rest.Length;
        return true;
    }
}
