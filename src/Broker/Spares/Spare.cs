namespace InterpreterKernel.Broker;

/// <summary>One spare: a sandbox that nobody has claimed, and the slot it takes. Guarded by the shelf's lock.</summary>
internal sealed class Spare(SpareKind kind, Account account, Ticket ticket, HeldSandbox held)
{
    public SpareKind Kind { get; } = kind;

    public Account Account { get; } = account;

    public Ticket Ticket { get; } = ticket;

    public HeldSandbox Held { get; } = held;

    private readonly TaskCompletionSource<uint?> _prepared = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Ends when its kernel waits for its first request (with the process that leads to it), or when it is known that it will not (null). Never fails.</summary>
    public Task<uint?> Prepared => _prepared.Task;

    /// <summary>Whether a claim may still have it, perhaps before it is ready.</summary>
    public bool IsGood => !Held.IsEnding && !Held.Lost.IsCompleted;

    /// <summary>Whether it is one already.</summary>
    public bool IsReady => IsGood && Prepared is { IsCompletedSuccessfully: true, Result: not null };

    public void SetPrepared(uint? attachment) => _prepared.TrySetResult(attachment);
}

/// <summary>A kind that was used lately, and what is kept of it. Guarded by the shelf's lock.</summary>
internal sealed class SpareDemand(Account account)
{
    public Account Account { get; } = account;

    /// <summary>How many are wanted, as the last claim said.</summary>
    public int Count { get; set; }

    /// <summary>The limit of that claim.</summary>
    public int? Limit { get; set; }

    public DateTimeOffset LastUsed { get; set; }

    /// <summary>After a failure: not before.</summary>
    public DateTimeOffset NotBefore { get; set; }

    /// <summary>How often in a row making one has failed.</summary>
    public int Failures { get; set; }
}
