namespace InterpreterKernel.Broker;

/// <summary>The broker at a glance: what <c>interpreter-kernel status --json</c> prints.</summary>
public sealed record BrokerStatus
{
    /// <summary>The limits in force, summed over the accounts in use; null when nothing has named one yet.</summary>
    public int? Limit { get; init; }

    /// <summary>Slots taken, also by sandboxes that are being created or killed.</summary>
    public int Used { get; init; }

    /// <summary>Claims that wait for a slot.</summary>
    public int Queued { get; init; }

    /// <summary>Warm spares that are ready. They are not among the slots taken: a claim that needs their place gets it.</summary>
    public int Spares { get; init; }

    /// <summary>Every claim, oldest first.</summary>
    public IReadOnlyList<ClaimStatus> Claims { get; init; } = [];

    /// <summary>One entry for each service account in use.</summary>
    public IReadOnlyList<AccountStatus> Accounts { get; init; } = [];

    /// <summary>The last claims that ended, newest first.</summary>
    public IReadOnlyList<EndedClaim> Ended { get; init; } = [];

    /// <summary>Kills that the service never confirmed; the lease of those sandboxes has ended since.</summary>
    public long UnconfirmedKills { get; init; }

    /// <summary>The broker's version.</summary>
    public string Version { get; init; } = "";

    /// <summary>The broker's process id.</summary>
    public int Pid { get; init; }
}

/// <summary>One claim in a list. Holds no secrets.</summary>
public sealed record ClaimStatus
{
    /// <summary>The claim's id.</summary>
    public required string Id { get; init; }

    /// <summary>The sandbox's id, once it has one.</summary>
    public string? Sandbox { get; init; }

    /// <summary><c>queued</c>, <c>creating</c>, <c>ready</c>, <c>handover</c> or <c>killing</c>.</summary>
    public required string State { get; init; }

    /// <summary>Since when it is in this state.</summary>
    public DateTimeOffset Since { get; init; }

    /// <summary>When the sandbox was created.</summary>
    public DateTimeOffset? Started { get; init; }

    /// <summary>The place in the queue.</summary>
    public int? Position { get; init; }

    /// <summary>The template.</summary>
    public string? Template { get; init; }

    /// <summary>The service, as in <see cref="AccountStatus.Service"/>.</summary>
    public string? Service { get; init; }

    /// <summary>The kernel's process id.</summary>
    public int? Pid { get; init; }

    /// <summary>The notebook.</summary>
    public string? Label { get; init; }

    /// <summary>What last went wrong with renewing or killing, while it is not mended.</summary>
    public string? Trouble { get; init; }
}

/// <summary>One service account: its slots and queue.</summary>
public sealed record AccountStatus
{
    /// <summary>The service: <c>embedded</c> or an address; numbered when several accounts share it.</summary>
    public required string Service { get; init; }

    /// <summary>The smallest limit that is in force for a claim of this account.</summary>
    public int? Limit { get; init; }

    /// <summary>The limit learned from the service's refusals, while it holds.</summary>
    public int? LearnedLimit { get; init; }

    /// <summary>Slots taken.</summary>
    public int Used { get; init; }

    /// <summary>Claims that wait.</summary>
    public int Queued { get; init; }
}

/// <summary>One sandbox in <c>GET /sandboxes</c>.</summary>
/// <param name="Id">The sandbox's id.</param>
/// <param name="Claim">The claim that holds it.</param>
/// <param name="Template">Its template.</param>
/// <param name="Started">When it was created.</param>
/// <param name="State">As in <see cref="ClaimStatus.State"/>.</param>
/// <param name="Service">The service it is on.</param>
public sealed record SandboxStatus(string Id, string Claim, string? Template, DateTimeOffset? Started, string State, string? Service);

/// <summary>What is wrong with one field of a request.</summary>
/// <param name="Field">The field's path, such as <c>service.apiUrl</c>.</param>
/// <param name="Message">What would be right.</param>
public sealed record RequestFault(string Field, string Message);

/// <summary>The body of every answer that is not a success.</summary>
/// <param name="Code">The HTTP status again.</param>
/// <param name="Reason">A short fixed word: <c>invalid</c>, <c>not_found</c>, <c>conflict</c>, <c>stopping</c>, …</param>
/// <param name="Message">What happened, for a person.</param>
/// <param name="Faults">For <c>invalid</c>: all that is wrong, not only the first.</param>
public sealed record BrokerError(int Code, string Reason, string Message, IReadOnlyList<RequestFault>? Faults = null);
