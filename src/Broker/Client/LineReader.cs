namespace InterpreterKernel.Broker;

/// <summary>Cuts a stream into lines, none longer than a bound.</summary>
internal sealed class LineReader(Stream stream, int longest)
{
    private byte[] _buffer = new byte[4096];
    private int _start;
    private int _end;

    /// <summary>The next line without its end, valid until the next call; null at the end of the stream. A line cut short counts as none.</summary>
    public async ValueTask<ReadOnlyMemory<byte>?> ReadAsync(CancellationToken cancellation)
    {
        var searched = _start;
        while (true)
        {
            var at = _buffer.AsSpan(searched, _end - searched).IndexOf((byte)'\n');
            if (at >= 0)
            {
                var line = _buffer.AsMemory(_start, searched + at - _start);
                _start = searched + at + 1;
                return line;
            }

            // Make room: first by moving what is there to the front, then by growing up to the bound.
            _buffer.AsSpan(_start, _end - _start).CopyTo(_buffer);
            _end -= _start;
            _start = 0;
            searched = _end;
            if (_end == _buffer.Length)
            {
                if (_end >= longest)
                {
                    throw new IOException($"A line is longer than {longest} bytes.");
                }

                Array.Resize(ref _buffer, Math.Min(_buffer.Length * 2, longest));
            }

            var read = await stream.ReadAsync(_buffer.AsMemory(_end), cancellation);
            if (read == 0)
            {
                return null;
            }

            _end += read;
        }
    }
}
