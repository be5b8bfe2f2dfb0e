namespace InterpreterKernel.SandboxHost.Sandboxes;

/// <summary>What was asked for when a sandbox was created.</summary>
internal sealed record SandboxRequest(
    string TemplateId,
    TimeSpan Lifetime,
    IReadOnlyDictionary<string, string> Metadata,
    IReadOnlyDictionary<string, string> EnvVars,
    string? Python,
    SandboxResources Resources)
{
    /// <summary>Whether the end of its time pauses it instead of killing it.</summary>
    internal bool AutoPause { get; init; }

    /// <summary>Whether a request to it, when it is paused, wakes it.</summary>
    internal bool AutoResume { get; init; }

    /// <summary>Whether its ports are open to all who know its id.</summary>
    internal bool PublicTraffic { get; init; } = true;

    /// <summary>The host name that its servers see; <c>${PORT}</c> stands for the port. Null: the one that was asked for.</summary>
    internal string? MaskRequestHost { get; init; }
}
