namespace InterpreterKernel.SandboxHost.Sandboxes;

/// <summary>One event in the life of a sandbox.</summary>
internal sealed record JournalEntry(DateTimeOffset Time, string Level, string Message, IReadOnlyDictionary<string, string> Fields);

/// <summary>The last events in the life of a sandbox: what it was made as, what was started in it, how that ended. No output, no secrets.</summary>
internal sealed class SandboxJournal(TimeProvider time)
{
    private const int Kept = 1000;
    private const int MaxText = 500;

    private readonly Queue<JournalEntry> _entries = new();
    private readonly Lock _gate = new();

    internal void Info(string message, params (string Name, string Value)[] fields) => Add("info", message, fields);

    internal void Warn(string message, params (string Name, string Value)[] fields) => Add("warn", message, fields);

    internal IReadOnlyList<JournalEntry> Read()
    {
        lock (_gate)
        {
            return [.. _entries];
        }
    }

    private void Add(string level, string message, (string Name, string Value)[] fields)
    {
        var entry = new JournalEntry(time.GetUtcNow(), level, message, fields.ToDictionary(f => f.Name, f => f.Value.Length > MaxText ? f.Value[..MaxText] : f.Value));
        lock (_gate)
        {
            _entries.Enqueue(entry);
            if (_entries.Count > Kept)
            {
                _entries.Dequeue();
            }
        }
    }
}
