namespace InterpreterKernel.SandboxHost.Sandboxes;

/// <summary>What was asked for when a sandbox was created.</summary>
internal sealed record SandboxRequest(
    string TemplateId,
    TimeSpan Lifetime,
    IReadOnlyDictionary<string, string> Metadata,
    IReadOnlyDictionary<string, string> EnvVars,
    string? Python);
