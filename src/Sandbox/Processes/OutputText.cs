using System.Text;

namespace InterpreterKernel.Sandbox.Processes;

/// <summary>Output bytes as text: characters cut between two pieces are put together, and what is kept is bounded.</summary>
internal sealed class OutputText(int limit, Action<string>? callback)
{
    private readonly Decoder _decoder = Encoding.UTF8.GetDecoder();
    private readonly StringBuilder _kept = new();
    private int _bytes;

    public bool Truncated { get; private set; }

    public void Add(ReadOnlySpan<byte> data)
    {
        var room = Math.Min(data.Length, limit - _bytes);
        Decode(data[..room], flush: false);
        if (room < data.Length)
        {
            Truncated = true;
            Decode(data[room..], flush: false);
        }

        _bytes += room;
    }

    /// <summary>All that is kept. A character that was never finished shows as a replacement character.</summary>
    public string Finish()
    {
        Decode([], flush: true);
        return _kept.ToString();
    }

    private void Decode(ReadOnlySpan<byte> data, bool flush)
    {
        var characters = new char[_decoder.GetCharCount(data, flush)];
        var count = _decoder.GetChars(data, characters, flush);
        if (count == 0)
        {
            return;
        }

        if (!Truncated)
        {
            _kept.Append(characters, 0, count);
        }

        callback?.Invoke(new string(characters, 0, count));
    }
}
