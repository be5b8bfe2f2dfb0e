using InterpreterKernel.Sandbox;

namespace InterpreterKernel.Broker;

/// <summary>What a broker is started with.</summary>
public sealed record BrokerOptions
{
    /// <summary>Where the processes of this user meet.</summary>
    public required RuntimeDirectory Directory { get; init; }

    /// <summary>The limit for each service account, on top of what claims bring and the service says. <value>Default: none.</value></summary>
    public int? Limit { get; init; }

    /// <summary>After how long without a claim the broker exits. <value>Default: 10 minutes.</value></summary>
    public TimeSpan IdleExit { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>How long a handed-over sandbox waits for the restarted kernel. <value>Default: 60 s.</value></summary>
    public TimeSpan Handover { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>How long a stop waits for kills to be confirmed; what is not by then ends with its lease. <value>Default: 10 s.</value></summary>
    public TimeSpan StopBound { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>How long a start waits for a broker that is just stopping. <value>Default: 20 s.</value></summary>
    public TimeSpan LockPatience { get; init; } = TimeSpan.FromSeconds(20);

    /// <summary>Shown by <c>status</c>.</summary>
    public string Version { get; init; } = "";

    /// <summary>The clock.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>
    /// Starts the embedded host and says how to reach it. Called when the first claim needs it; called again when it
    /// failed. Null: claims without a service fail.
    /// </summary>
    public Func<CancellationToken, Task<SandboxConnection>>? EmbeddedHost { get; init; }

    /// <summary>Stops the embedded host. Called after the last sandbox was killed and before another broker may start.</summary>
    public Func<ValueTask>? StopEmbeddedHost { get; init; }

    /// <summary>Removes what a dead embedded host of this user left on the machine. Called once, in the background of the start.</summary>
    public Func<CancellationToken, Task>? SweepEmbedded { get; init; }

    /// <summary>How warm spares are made; null: none are kept.</summary>
    public SpareOptions? Spares { get; init; }

    /// <summary>The services; replaced by tests.</summary>
    internal Func<ServiceAddress?, ISandboxService>? Services { get; init; }
}
