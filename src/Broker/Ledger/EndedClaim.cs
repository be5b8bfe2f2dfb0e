namespace InterpreterKernel.Broker;

/// <summary>A claim that is over, in <c>status</c>. Holds no secrets.</summary>
public sealed record EndedClaim
{
    /// <summary>When its connection ended.</summary>
    public DateTimeOffset At { get; init; }

    /// <summary>The claim's id.</summary>
    public required string Id { get; init; }

    /// <summary>The sandbox's id, if it had one.</summary>
    public string? Sandbox { get; init; }

    /// <summary>The notebook.</summary>
    public string? Label { get; init; }

    /// <summary>The service, as in <see cref="AccountStatus.Service"/>.</summary>
    public string? Service { get; init; }

    /// <summary>
    /// Why: one of <see cref="ClaimReasons"/>; the name of the error that the notebook showed (<c>KernelOutOfMemory</c>, <c>RelayDied</c>, …); or
    /// <c>closed</c>, when its holder went without a word, as by any ordinary end.
    /// </summary>
    public required string Reason { get; init; }

    /// <summary>The same for a person, when there is more to say.</summary>
    public string? Message { get; init; }
}

/// <summary>What the holder of a claim has seen itself: the death of something in the sandbox, of which only it knows.</summary>
/// <param name="Reason">The name of the error that the notebook shows.</param>
/// <param name="Message">Its text.</param>
public sealed record HolderReport(string Reason, string Message)
{
    /// <summary>The longest reason that is taken, in characters.</summary>
    public const int LongestReason = 64;

    /// <summary>How many characters of a message are kept.</summary>
    public const int LongestMessage = 2000;
}
