using System.Buffers;
using InterpreterKernel.Protocol.Relay;

namespace InterpreterKernel.Kernel.Remote;

/// <summary>Finds frames in the bytes of one attachment, which come cut anywhere. Only a frame that is not whole yet is copied.</summary>
internal sealed class RelayLinkFrames
{
    private byte[] _pending = [];
    private int _count;
    private ReadOnlySequence<byte> _rest;

    /// <summary>Gives it the bytes just read; they must stay valid until <see cref="TryRead"/> has said false.</summary>
    public void Append(ReadOnlyMemory<byte> bytes)
    {
        if (_count == 0)
        {
            _rest = new ReadOnlySequence<byte>(bytes);
            return;
        }

        if (_pending.Length - _count < bytes.Length)
        {
            Array.Resize(ref _pending, Math.Max(_count + bytes.Length, _pending.Length * 2));
        }

        bytes.CopyTo(_pending.AsMemory(_count));
        _count += bytes.Length;
        _rest = new ReadOnlySequence<byte>(_pending, 0, _count);
    }

    /// <summary>The next whole frame, valid until the next call. False keeps the rest for later.</summary>
    /// <exception cref="RelayProtocolException">These bytes are no frames.</exception>
    public bool TryRead(out RelayFrame frame)
    {
        if (RelayCodec.TryRead(ref _rest, out frame))
        {
            return true;
        }

        var left = (int)_rest.Length;
        if (_pending.Length < left)
        {
            _pending = new byte[Math.Max(left, RelayCodec.MaxPiece)];
        }

        _rest.CopyTo(_pending);
        _count = left;
        _rest = default;
        return false;
    }
}
