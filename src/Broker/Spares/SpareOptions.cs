using RemoteSandbox = InterpreterKernel.Sandbox.Sandbox;

namespace InterpreterKernel.Broker;

/// <summary>How spares are made ready. Without it a broker keeps none.</summary>
public sealed record SpareOptions
{
    /// <summary>Names the program that <see cref="PrepareAsync"/> leaves in the sandbox. A claim that was made by another version gets no spare.</summary>
    public required string Relay { get; init; }

    /// <summary>
    /// Starts the relay in a new sandbox, and in it the kernel of this name; returns when that waits for its first request, with the id of the process
    /// through which the holder will talk to it.
    /// </summary>
    public required Func<RemoteSandbox, string, CancellationToken, Task<uint>> PrepareAsync { get; init; }

    /// <summary>How long no claim may have come, begun or ended before a spare is made: it is not to take the processor from a start. <value>Default: 2 s.</value></summary>
    public TimeSpan Quiet { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>How long after the last claim of its kind a spare is kept. <value>Default: 30 minutes.</value></summary>
    public TimeSpan Keep { get; init; } = TimeSpan.FromMinutes(30);

    /// <summary>How long a spare may take to be ready. <value>Default: 60 s.</value></summary>
    public TimeSpan Patience { get; init; } = TimeSpan.FromSeconds(60);
}
