namespace InterpreterKernel.Broker.Tests;

public sealed class LedgerTests : IDisposable
{
    private readonly TestDesk _test = new();

    public void Dispose() => _test.Dispose();

    [Fact]
    public async Task A_claim_that_ended_is_listed_with_its_reason_newest_first()
    {
        var closed = await _test.ReadyClaimAsync(TestDesk.Request() with { Owner = new ClaimOwner(7, "a.ipynb") });
        await closed.LeaveAndWaitAsync();
        var killed = await _test.ReadyClaimAsync();
        await _test.Desk.KillSandboxAsync("i2", CancellationToken.None);
        await killed.HearsAsync(ClaimEvents.Lost);

        _test.Desk.Status().Ended.Select(e => (e.Id, e.Sandbox, e.Reason, e.Label)).ShouldBe(
            [(killed.Claim.Id, "i2", "killed", null), (closed.Claim.Id, "i1", "closed", "a.ipynb")]);
    }

    [Fact]
    public async Task What_the_holder_saw_die_is_the_reason()
    {
        var claimant = await _test.ReadyClaimAsync();

        _test.Desk.Report(claimant.Claim.Id, new HolderReport("KernelOutOfMemory", "it was killed")).ShouldBeTrue();
        _test.Desk.Report(claimant.Claim.Id, new HolderReport("RelayDied", "a consequence")).ShouldBeTrue();
        await claimant.LeaveAndWaitAsync();

        var end = _test.Desk.Status().Ended.ShouldHaveSingleItem();
        (end.Reason, end.Message).ShouldBe(("KernelOutOfMemory", "it was killed"));
        _test.Desk.Report(claimant.Claim.Id, new HolderReport("Late", "")).ShouldBeFalse();
    }

    [Fact]
    public async Task Only_the_last_ends_are_kept_and_all_are_counted()
    {
        for (var i = 0; i < Ledger.KeptEnds + 4; i++)
        {
            await (await _test.ReadyClaimAsync()).LeaveAndWaitAsync();
        }

        _test.Desk.Status().Ended.Count.ShouldBe(Ledger.KeptEnds);
        _test.Desk.Status().Ended[0].Sandbox.ShouldBe("i20");
        Metric("claims_ended_total{reason=\"closed\"}").ShouldBe(20);
        Metric("claims_opened_total").ShouldBe(20);
        Metric("create_seconds_count").ShouldBe(20);
        Metric("time_to_free_seconds_count").ShouldBe(20);
        Metric("slots_used{service=\"embedded\"}").ShouldBeNull();
    }

    [Fact]
    public async Task The_time_to_a_free_slot_counts_from_the_wish()
    {
        var confirmed = new TaskCompletionSource();
        _test.Service.OnKill = (_, _) => confirmed.Task;
        var claimant = await _test.ReadyClaimAsync();
        claimant.Leave();
        await _test.Service.CallAsync("kill i1");
        Metric("slots_used{service=\"embedded\"}").ShouldBe(1);
        Metric("claims{state=\"killing\"}").ShouldBe(1);

        _test.Time.Advance(TimeSpan.FromSeconds(3));
        confirmed.SetResult();
        await claimant.Claim.Closed.WaitAsync(Bound.Default);

        Metric("time_to_free_seconds_sum").ShouldBe(3);
        Metric("time_to_free_seconds_bucket{le=\"1\"}").ShouldBe(0);
        Metric("time_to_free_seconds_bucket{le=\"5\"}").ShouldBe(1);
        Metric("time_to_free_seconds_bucket{le=\"+Inf\"}").ShouldBe(1);
    }

    [Fact]
    public async Task Orders_that_were_not_fulfilled_are_counted_by_fault()
    {
        _test.Service.OnCreate = _ => throw new ServiceException(ServiceFault.Authentication, "no");
        await _test.Claim().AwaitsAsync(ClaimEvents.Failed);

        Metric("creates_failed_total{fault=\"Authentication\"}").ShouldBe(1);
        _test.Desk.Status().Ended.ShouldHaveSingleItem().Reason.ShouldBe(ClaimReasons.Authentication);
    }

    [Fact]
    public void Reasons_that_others_make_up_do_not_grow_without_bound()
    {
        var ledger = new Ledger();
        for (var i = 0; i < 1000; i++)
        {
            ledger.Ended(new EndedClaim { Id = "c", Reason = $"made \"up\"\n{i}" });
        }

        var lines = ledger.Metrics(new BrokerStatus()).Split('\n').Where(l => l.StartsWith("interpreter_kernel_claims_ended_total{", StringComparison.Ordinal)).ToList();
        lines.Count.ShouldBeLessThan(70);
        lines.ShouldContain("interpreter_kernel_claims_ended_total{reason=\"made \\\"up\\\"\\n0\"} 1");
        lines.ShouldContain(l => l.Contains("\"other\""));
    }

    private double? Metric(string name)
    {
        var line = _test.Desk.Metrics().Split('\n').SingleOrDefault(l => l.StartsWith($"interpreter_kernel_{name} ", StringComparison.Ordinal));
        return line is null ? null : double.Parse(line.Split(' ')[^1], System.Globalization.CultureInfo.InvariantCulture);
    }
}
