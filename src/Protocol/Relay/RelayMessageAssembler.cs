using System.Buffers;
using System.Buffers.Binary;

namespace InterpreterKernel.Protocol.Relay;

/// <summary>
/// Puts a message together from the pieces of its encoding (<see cref="RelayMessage"/> has the layout) as they come. Each frame
/// gets memory of its own size as soon as its length is known, so that a large message exists once and is copied once.
/// </summary>
public sealed class RelayMessageAssembler
{
    private const int HeaderLength = 3;
    private const int LengthPrefix = 4;

    // The head of the message or the length of a frame, which pieces may cut anywhere.
    private readonly byte[] _prefix = new byte[LengthPrefix];
    private int _prefixFilled;

    private ReadOnlyMemory<byte>[]? _frames;
    private RelayChannel _channel;
    private int _frame;
    private byte[]? _current;
    private int _currentFilled;
    private long _promised;

    /// <summary>Whether no piece of a message was added yet.</summary>
    public bool IsEmpty => _frames is null && _prefixFilled == 0;

    /// <summary>Adds the next piece.</summary>
    /// <exception cref="RelayProtocolException">Counts and lengths do not add up, or the channel is unknown.</exception>
    public void Add(in ReadOnlySequence<byte> piece)
    {
        foreach (var segment in piece)
        {
            var bytes = segment.Span;
            while (!bytes.IsEmpty)
            {
                bytes = bytes[Take(bytes)..];
            }
        }
    }

    /// <summary>The message, of which the last piece was added. What is added from now on belongs to the next.</summary>
    /// <exception cref="RelayProtocolException">It is not whole.</exception>
    public RelayMessage Complete()
    {
        var message = _frames is not null && _frame == _frames.Length && _prefixFilled == 0
            ? new RelayMessage(_channel, _frames)
            : throw new RelayProtocolException("a message is cut off");
        _frames = null;
        return message;
    }

    private int Take(ReadOnlySpan<byte> bytes)
    {
        if (_current is not null)
        {
            var count = Math.Min(bytes.Length, _current.Length - _currentFilled);
            bytes[..count].CopyTo(_current.AsSpan(_currentFilled));
            _currentFilled += count;
            if (_currentFilled == _current.Length)
            {
                _frames![_frame++] = _current;
                _current = null;
            }

            return count;
        }

        var wanted = _frames is null ? HeaderLength : LengthPrefix;
        var taken = Math.Min(bytes.Length, wanted - _prefixFilled);
        bytes[..taken].CopyTo(_prefix.AsSpan(_prefixFilled));
        _prefixFilled += taken;
        if (_prefixFilled == wanted)
        {
            _prefixFilled = 0;
            if (_frames is null)
            {
                Begin();
            }
            else
            {
                BeginFrame();
            }
        }

        return taken;
    }

    private void Begin()
    {
        if (_prefix[0] is < (byte)RelayChannel.Shell or > (byte)RelayChannel.Interrupt)
        {
            throw new RelayProtocolException("a message without a known channel");
        }

        _channel = (RelayChannel)_prefix[0];
        _frames = new ReadOnlyMemory<byte>[BinaryPrimitives.ReadUInt16BigEndian(_prefix.AsSpan(1))];
        _frame = 0;
        _promised = HeaderLength;
    }

    private void BeginFrame()
    {
        if (_frame == _frames!.Length)
        {
            throw new RelayProtocolException("a message has bytes left over");
        }

        var length = BinaryPrimitives.ReadUInt32BigEndian(_prefix);
        _promised += LengthPrefix + (long)length;
        if (_promised > RelayCodec.MaxMessage)
        {
            throw new RelayProtocolException($"a message over {RelayCodec.MaxMessage} bytes");
        }

        if (length == 0)
        {
            _frame++;
        }
        else
        {
            // Not cleared: every byte is written before anyone sees it, and pages that were promised only cost nothing.
            _current = GC.AllocateUninitializedArray<byte>((int)length);
            _currentFilled = 0;
        }
    }
}
