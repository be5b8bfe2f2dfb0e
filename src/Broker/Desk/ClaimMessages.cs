namespace InterpreterKernel.Broker;

/// <summary>The last words of claims: what happened, what survives, what to do.</summary>
internal static class ClaimMessages
{
    public static ClaimEvent Lost(Loss loss)
    {
        var what = loss.Reason switch
        {
            ClaimReasons.Expired => "The sandbox is gone: its lease ran out before it could be renewed (the machine slept, the service was out of reach).",
            ClaimReasons.Authentication => "The sandbox is gone: the service no longer accepts the API key, so the lease could not be renewed. Check E2B_API_KEY.",
            _ => "The sandbox is gone: somebody else killed it, the service lost it, or the plan allows no longer life.",
        };
        return Make(ClaimEvents.Lost, loss.Reason, $"{what} It had lived for {Math.Floor(loss.Lived.TotalHours):0}:{loss.Lived:mm\\:ss}.{(loss.Trouble is null ? "" : $" {loss.Trouble}.")} Variables and files in it are lost; a new sandbox can be had at once.");
    }

    /// <summary>The broker itself ended the claim.</summary>
    public static ClaimEvent Ended(OpenClaim claim)
    {
        var kind = claim.Held is { Stage.State: not HeldState.Creating } || claim.HandedOver ? ClaimEvents.Lost : ClaimEvents.Failed;
        return claim.InterruptReason switch
        {
            ClaimReasons.HandedOver => Make(ClaimEvents.Lost, ClaimReasons.HandedOver, "The sandbox went to the next kernel with the same connection file."),
            ClaimReasons.Released => Make(kind, ClaimReasons.Released, "The claim was released; its sandbox is killed."),
            ClaimReasons.Killed => Make(ClaimEvents.Lost, ClaimReasons.Killed, "The sandbox was killed through the broker. Variables and files in it are lost; a new sandbox can be had at once."),
            _ => Make(kind, ClaimReasons.Stopping, "The broker is stopping and kills its sandboxes. Variables and files in them are lost; the next claim starts a new broker."),
        };
    }

    public static ClaimEvent NoSlot(int limit, double? waited) => Make(
        ClaimEvents.Failed,
        ClaimReasons.Limit,
        (waited is { } s ? $"No sandbox became free within {s:0.###} s: " : "No sandbox is free: ")
            + $"the limit in force is {limit}, and all are in use. Close a notebook, raise the limit, or wait longer.");

    public static ClaimEvent Failed(ServiceException fault)
    {
        var (reason, what, next) = fault.Fault switch
        {
            ServiceFault.Authentication => (ClaimReasons.Authentication, "The sandbox service does not accept the API key", "Check E2B_API_KEY."),
            ServiceFault.NotFound => (ClaimReasons.NotFound, "The sandbox service does not know the template", "Check the template's name and that the key may use it."),
            ServiceFault.Rejected => (ClaimReasons.Rejected, "The sandbox service refused the request", "Check the configuration."),
            ServiceFault.EmbeddedHost => (ClaimReasons.EmbeddedHost, "The embedded sandbox host cannot start", "Run `interpreter-kernel doctor`."),
            ServiceFault.Unreachable or ServiceFault.NeverSent => (ClaimReasons.Unreachable, "The sandbox service cannot be reached", "Check the network and the address, then try again."),
            ServiceFault.Timeout => (ClaimReasons.Unreachable, "The sandbox service did not answer in time", "Try again."),
            ServiceFault.Busy => (ClaimReasons.Service, "The sandbox service has no room right now", "Try again in a while."),
            _ => (ClaimReasons.Service, "The sandbox service failed", "Try again."),
        };
        return Make(ClaimEvents.Failed, reason, $"{what}: {fault.Message.TrimEnd('.')}. {next}");
    }

    private static ClaimEvent Make(string kind, string reason, string message) => new() { Event = kind, Reason = reason, Message = message };
}
