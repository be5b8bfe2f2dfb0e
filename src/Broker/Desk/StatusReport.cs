namespace InterpreterKernel.Broker;

/// <summary>Makes the status out of the books. The caller holds their lock.</summary>
internal static class StatusReport
{
    public static BrokerStatus Make(IEnumerable<OpenClaim> claims, IEnumerable<Account> accounts, DeskOptions options, Ledger ledger)
    {
        List<AccountStatus> accountList = [];
        foreach (var account in accounts)
        {
            var counts = account.Slots.Count();
            if (account.Claims > 0 || counts.Learned is not null)
            {
                accountList.Add(new AccountStatus
                {
                    Service = account.Name,
                    Limit = counts.Limit,
                    LearnedLimit = counts.Learned,
                    Used = counts.Used,
                    Queued = counts.Queued,
                });
            }
        }

        return new BrokerStatus
        {
            Limit = accountList.Count > 0 ? accountList.Sum(a => a.Limit ?? 0) : options.Limit ?? Slots.DefaultLimit,
            Used = accountList.Sum(a => a.Used),
            Queued = accountList.Sum(a => a.Queued),
            Claims = [.. claims.OrderBy(c => c.Opened).ThenBy(c => c.Ticket.Number).Select(Describe)],
            Accounts = accountList,
            Ended = ledger.Ends,
            UnconfirmedKills = ledger.UnconfirmedKills,
            Version = options.Version,
            Pid = Environment.ProcessId,
        };
    }

    private static ClaimStatus Describe(OpenClaim claim)
    {
        var stage = claim.Held?.Stage;
        var (state, since) = claim switch
        {
            { Held: null } => ("queued", claim.Opened),
            { Held.IsEnding: true } => ("killing", stage!.Since),
            { Disconnected: { } left } => ("handover", left),
            _ when stage!.State == HeldState.Creating => ("creating", stage.Since),
            _ => ("ready", stage.Since),
        };
        return new ClaimStatus
        {
            Id = claim.Id,
            Sandbox = stage?.Sandbox,
            State = state,
            Since = since,
            Started = stage?.Started,
            Position = claim.Account.Slots.PositionOf(claim.Ticket),
            Template = claim.Request.Template,
            Service = claim.Account.Name,
            Pid = claim.Request.Owner?.Pid,
            Label = claim.Request.Owner?.Label,
            Trouble = claim.Held?.Trouble,
        };
    }
}
