namespace InterpreterKernel.Broker;

/// <summary>What the desk works by.</summary>
internal sealed record DeskOptions
{
    /// <summary>The broker's own limit for each account; null leaves it to the claims.</summary>
    public int? Limit { get; init; }

    /// <summary>How long a handed-over sandbox waits for the next claim.</summary>
    public TimeSpan Handover { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>After how long without a claim the book closes.</summary>
    public TimeSpan IdleExit { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>How fast sandboxes are ordered from services far away; null sets no pace. The embedded host is this machine.</summary>
    public Pace? Pace { get; init; }

    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>Tells this broker's sandboxes from all others.</summary>
    public required string Instance { get; init; }

    public required string Host { get; init; }

    /// <summary>How spares are made; null: none are kept.</summary>
    public SpareOptions? Spares { get; init; }

    public string Version { get; init; } = "";
}
