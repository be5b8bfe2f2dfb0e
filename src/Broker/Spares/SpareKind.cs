namespace InterpreterKernel.Broker;

/// <summary>
/// All that a spare has in common with the claim it may go to. What is not in here (the network, the root file
/// system) is the embedded host's, and so the same for all of its sandboxes.
/// </summary>
internal sealed record SpareKind(AccountKey Account, string Template, string? Python, ClaimResources? Resources, int LifetimeSeconds, string Kernel)
{
    /// <summary>
    /// The kind of spare that a claim would take and leave; null when it wants none, or something that no spare has:
    /// metadata and variables are given to a sandbox when it is created, and belong to one claim.
    /// </summary>
    /// <param name="request">The claim.</param>
    /// <param name="account">Its account.</param>
    /// <param name="relay">The relay that spares are prepared with here.</param>
    public static SpareKind? Of(ClaimRequest request, AccountKey account, string relay) =>
        request is { Spare: { Count: > 0 } wish, Metadata: null or { Count: 0 }, EnvVars: null or { Count: 0 } } && wish.Relay == relay
            ? new SpareKind(account, request.Template, request.Python, request.Resources, request.LifetimeSeconds, wish.Kernel)
            : null;
}
