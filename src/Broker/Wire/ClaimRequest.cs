namespace InterpreterKernel.Broker;

/// <summary>What a kernel asks of the broker: one sandbox, held for as long as the claim's connection is open.</summary>
/// <remarks>Contains the service's API key, and so is never logged: <see cref="ToString"/> leaves secrets out.</remarks>
public sealed record ClaimRequest
{
    /// <summary>Identifies the connection file (hex). A handed-over sandbox goes to the next claim with the same key.</summary>
    public required string Key { get; init; }

    /// <summary>Who asks; only shown in lists.</summary>
    public ClaimOwner? Owner { get; init; }

    /// <summary>The sandbox service; null means the embedded host on this machine.</summary>
    public ServiceAddress? Service { get; init; }

    /// <summary>The template to start. <value>Default: <c>code-interpreter-v1</c>.</value></summary>
    public string Template { get; init; } = DefaultTemplate;

    /// <summary>How many sandboxes of this service account may be held at once, as this claim is configured; null leaves it to the broker.</summary>
    public int? Limit { get; init; }

    /// <summary>How long the sandbox outlives a broker that died. Renewed every third of it. <value>Default: 60.</value></summary>
    public int LifetimeSeconds { get; init; } = DefaultLifetimeSeconds;

    /// <summary>Metadata to put on the sandbox; keys that start with <c>interpreter-kernel.</c> are the broker's own.</summary>
    public IReadOnlyDictionary<string, string>? Metadata { get; init; }

    /// <summary>Environment variables of every process in the sandbox.</summary>
    public IReadOnlyDictionary<string, string>? EnvVars { get; init; }

    /// <summary>Embedded host only: absolute path of the Python whose prefix becomes the template.</summary>
    public string? Python { get; init; }

    /// <summary>Embedded host only: the size of the sandbox; what is null is as the host has it.</summary>
    public ClaimResources? Resources { get; init; }

    /// <summary>What to do when no slot is free. <value>Default: wait without end.</value></summary>
    public ClaimWait? Wait { get; init; }

    /// <summary>Take a warm spare where there is one, and have others made; null: a sandbox of its own, made for it.</summary>
    public SpareWish? Spare { get; init; }

    /// <summary>The template when none is named: it carries ipykernel and pyzmq.</summary>
    public const string DefaultTemplate = "code-interpreter-v1";

    /// <summary>The lifetime when none is given.</summary>
    public const int DefaultLifetimeSeconds = 60;

    /// <summary>Template and service, without anything secret.</summary>
    public override string ToString() => $"{Template} of {Service?.ToString() ?? "the embedded host"}";
}

/// <summary>The size of an embedded sandbox.</summary>
/// <param name="Memory">Memory and files together, in bytes; 64 MiB at least.</param>
/// <param name="Disk">Files, in bytes; 1 MiB at least.</param>
/// <param name="Cpus">Processors; 0.05 at least.</param>
/// <param name="Pids">Processes and threads; 16 at least.</param>
public sealed record ClaimResources(long? Memory, long? Disk, double? Cpus, int? Pids)
{
    /// <summary>As the embedded host reads it from a sandbox's metadata.</summary>
    public override string ToString() => string.Join(
        ' ',
        ((string Name, IFormattable? Value)[])[("memory", Memory), ("disk", Disk), ("cpus", Cpus), ("pids", Pids)] is var all
            ? all.Where(r => r.Value is not null).Select(r => $"{r.Name}={r.Value!.ToString(null, System.Globalization.CultureInfo.InvariantCulture)}")
            : []);
}

/// <summary>Who holds a claim, for people who read a list of claims.</summary>
/// <param name="Pid">The kernel's process id.</param>
/// <param name="Label">The notebook's path or another name a person recognises.</param>
public sealed record ClaimOwner(int? Pid, string? Label);

/// <summary>Where a sandbox service is and who asks. The names are those of E2B's variables.</summary>
public sealed record ServiceAddress
{
    /// <summary>The control plane; null: <c>https://api.{domain}</c>.</summary>
    public Uri? ApiUrl { get; init; }

    /// <summary>The base address of every sandbox; null: by the domain's rules.</summary>
    public Uri? SandboxUrl { get; init; }

    /// <summary>The service's domain; null: <c>e2b.app</c>.</summary>
    public string? Domain { get; init; }

    /// <summary>The API key. Only ever in memory: never logged, listed or written.</summary>
    public string? ApiKey { get; init; }

    /// <summary>E2B's debug mode.</summary>
    public bool Debug { get; init; }

    /// <summary>The address, without the key.</summary>
    public override string ToString() => ApiUrl?.GetLeftPart(UriPartial.Authority) ?? Domain ?? "e2b.app";
}

/// <summary>Which spares a claim takes and leaves behind.</summary>
/// <param name="Kernel">The kernelspec that is to run in it.</param>
/// <param name="Relay">Names the relay that is to serve it: another version's is of no use.</param>
/// <param name="Count">How many of them are to be kept from now on, if there is room.</param>
public sealed record SpareWish(string Kernel, string Relay, int Count);

/// <summary>What to do when no slot is free.</summary>
/// <param name="Policy"><c>wait</c> or <c>reject</c>.</param>
/// <param name="Seconds">With <c>wait</c>: give up after so many seconds; null never does.</param>
public sealed record ClaimWait(string Policy, double? Seconds)
{
    /// <summary>Wait in the queue.</summary>
    public const string WaitPolicy = "wait";

    /// <summary>Fail at once.</summary>
    public const string RejectPolicy = "reject";
}
