using System.Text;

namespace InterpreterKernel.Sandbox.Processes;

/// <summary>Output bytes as text: characters cut between two pieces are put together, and what is kept is bounded.</summary>
internal sealed class OutputText(int limit, Action<string>? callback)
{
    private readonly Decoder _decoder = Encoding.UTF8.GetDecoder();
    private readonly StringBuilder _kept = new();
    private int _bytes;

    public bool Truncated { get; private set; }

    public void Add(ReadOnlySpan<byte> data) => Decode(data, flush: false);

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

        if (_bytes <= limit - data.Length)
        {
            _bytes += data.Length;
            _kept.Append(characters, 0, count);
        }
        else
        {
            _bytes = limit;
            Truncated = true;
        }

        callback?.Invoke(new string(characters, 0, count));
    }
}
