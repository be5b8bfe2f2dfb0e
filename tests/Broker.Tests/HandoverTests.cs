namespace InterpreterKernel.Broker.Tests;

public sealed class HandoverTests : IDisposable
{
    private readonly TestDesk _test = new();

    private FakeSandboxService Service => _test.Service;

    public void Dispose() => _test.Dispose();

    [Fact]
    public async Task A_handed_over_sandbox_goes_to_the_next_claim_with_the_same_key_at_once_and_without_a_new_slot()
    {
        var old = await _test.ReadyClaimAsync(TestDesk.Request() with { Limit = 1 });
        var waiting = _test.Claim(TestDesk.Request("ffffffff") with { Limit = 1 });
        await waiting.HearsAsync(ClaimEvents.Queued);
        _test.Desk.AllowHandover(old.Claim.Id).ShouldBe(true);
        old.Leave();
        await old.Served.WaitAsync(Bound.Default);
        _test.StateOf(old).ShouldBe("handover");

        var next = _test.Claim(TestDesk.Request() with { Limit = 1 });
        var ready = await next.HearsAsync(ClaimEvents.Ready);

        ready.Sandbox.ShouldBe(new GrantedSandbox("i1", "token-i1", null, "/host.sock", true));
        waiting.HeardNothing().ShouldBeTrue();
        _test.Desk.Status().Used.ShouldBe(1);
        _test.StateOf(old).ShouldBe("none");
        await next.LeaveAndWaitAsync();
        await waiting.HearsReadyAsync();
    }

    [Fact]
    public async Task The_next_claim_may_come_before_the_old_connection_ends()
    {
        var old = await _test.ReadyClaimAsync();
        _test.Desk.AllowHandover(old.Claim.Id);
        var next = _test.Claim();

        (await next.HearsAsync(ClaimEvents.Ready)).Sandbox!.HandedOver.ShouldBeTrue();
        (await old.HearsAsync(ClaimEvents.Lost)).Reason.ShouldBe(ClaimReasons.HandedOver);
        await old.Claim.Closed.WaitAsync(Bound.Default);
        Service.Alive.ShouldBe(["i1"]);
        _test.Desk.Status().Used.ShouldBe(1);
        await next.LeaveAndWaitAsync();
        Service.Alive.ShouldBeEmpty();
        _test.Desk.Status().Used.ShouldBe(0);
    }

    [Fact]
    public async Task Without_a_handover_the_same_key_gets_a_new_sandbox()
    {
        var old = await _test.ReadyClaimAsync();
        old.Leave();
        var next = _test.Claim();

        (await next.HearsReadyAsync()).Sandbox!.ShouldSatisfyAllConditions(s => s.Id.ShouldBe("i2"), s => s.HandedOver.ShouldBeFalse());
    }

    [Fact]
    public async Task A_sandbox_that_nobody_came_for_is_killed_after_a_minute_and_kept_alive_until_then()
    {
        var old = await _test.ReadyClaimAsync();
        _test.Desk.AllowHandover(old.Claim.Id);
        old.Leave();
        await old.Served.WaitAsync(Bound.Default);
        await _test.Time.PassAsync(TimeSpan.FromSeconds(20));
        await Service.CallAsync("renew i1");
        await _test.Time.PassAsync(TimeSpan.FromSeconds(20));
        await Service.CallAsync("renew i1");
        await _test.Time.PassAsync(TimeSpan.FromSeconds(20));

        await Service.CallAsync("kill i1");
        await old.Claim.Closed.WaitAsync(Bound.Default);
        _test.Desk.Status().Used.ShouldBe(0);
    }

    [Fact]
    public async Task A_handover_that_is_over_before_the_connection_ends_counts_for_nothing()
    {
        var old = await _test.ReadyClaimAsync();
        _test.Desk.AllowHandover(old.Claim.Id);
        _test.Time.Advance(TimeSpan.FromSeconds(61));
        old.Leave();

        await Service.CallAsync("kill i1");
    }

    [Fact]
    public async Task A_notebook_that_wants_another_template_now_gets_it_and_the_old_sandbox_is_killed_at_once()
    {
        var old = await _test.ReadyClaimAsync();
        _test.Desk.AllowHandover(old.Claim.Id);
        old.Leave();
        await old.Served.WaitAsync(Bound.Default);
        var next = _test.Claim(TestDesk.Request() with { Template = "other" });

        await Service.CallAsync("kill i1");
        (await next.HearsReadyAsync()).Sandbox!.Id.ShouldBe("i2");
    }

    [Fact]
    public async Task A_claim_of_another_account_does_not_inherit()
    {
        var old = await _test.ReadyClaimAsync(TestDesk.Request() with { Service = new ServiceAddress { ApiKey = "one" } });
        _test.Desk.AllowHandover(old.Claim.Id);
        old.Leave();
        await old.Served.WaitAsync(Bound.Default);
        var thief = _test.Claim(TestDesk.Request() with { Service = new ServiceAddress { ApiKey = "two" } });

        (await thief.HearsReadyAsync()).Sandbox!.Id.ShouldBe("i2");
    }

    [Fact]
    public async Task A_sandbox_can_be_handed_over_while_it_is_being_created()
    {
        var creation = new TaskCompletionSource();
        Service.OnCreate = _ => creation.Task;
        var old = _test.Claim();
        await old.HearsAsync(ClaimEvents.Creating);
        _test.Desk.AllowHandover(old.Claim.Id).ShouldBe(true);
        old.Leave();
        await old.Served.WaitAsync(Bound.Default);
        var next = _test.Claim();
        creation.SetResult();

        (await next.HearsAsync(ClaimEvents.Ready)).Sandbox!.Id.ShouldBe("i1");
        Service.Alive.ShouldBe(["i1"]);
    }

    [Fact]
    public async Task A_creation_that_was_handed_over_and_then_refused_queues_for_the_next_claim()
    {
        Service.Limit = 0;
        var creation = new TaskCompletionSource();
        Service.OnCreate = _ => creation.Task;
        var old = _test.Claim();
        await old.HearsAsync(ClaimEvents.Creating);
        _test.Desk.AllowHandover(old.Claim.Id);
        var next = _test.Claim();
        (await old.HearsAsync(ClaimEvents.Lost)).Reason.ShouldBe(ClaimReasons.HandedOver);
        creation.SetResult();
        await next.HearsAsync(ClaimEvents.Queued);

        Service.Limit = 1;
        await _test.Time.PassAsync(TimeSpan.FromMilliseconds(500));
        await next.HearsReadyAsync();
        await next.LeaveAndWaitAsync();
        _test.Desk.Status().ShouldSatisfyAllConditions(s => s.Used.ShouldBe(0), s => s.Claims.ShouldBeEmpty());
    }

    [Fact]
    public async Task A_claim_in_the_queue_has_nothing_to_hand_over()
    {
        await _test.ReadyClaimAsync(TestDesk.Request("ffffffff") with { Limit = 1 });
        var waiting = _test.Claim(TestDesk.Request() with { Limit = 1 });
        await waiting.HearsAsync(ClaimEvents.Queued);

        _test.Desk.AllowHandover(waiting.Claim.Id).ShouldBe(false);
        _test.Desk.AllowHandover("c-unknown").ShouldBeNull();
    }

    [Fact]
    public async Task A_sandbox_that_dies_during_the_handover_frees_its_slot_and_the_next_claim_gets_a_new_one()
    {
        var old = await _test.ReadyClaimAsync();
        _test.Desk.AllowHandover(old.Claim.Id);
        old.Leave();
        await old.Served.WaitAsync(Bound.Default);
        Service.Remove("i1");
        await _test.Time.PassAsync(TimeSpan.FromSeconds(20));
        await old.Claim.Closed.WaitAsync(Bound.Default);

        (await _test.Claim().HearsReadyAsync()).Sandbox!.Id.ShouldBe("i2");
    }

    [Fact]
    public async Task A_handed_over_sandbox_can_be_released()
    {
        var old = await _test.ReadyClaimAsync();
        _test.Desk.AllowHandover(old.Claim.Id);
        old.Leave();
        await old.Served.WaitAsync(Bound.Default);

        (await _test.Desk.ReleaseAsync(old.Claim.Id, CancellationToken.None).WaitAsync(Bound.Default)).ShouldBeTrue();
        Service.Alive.ShouldBeEmpty();
    }

    [Fact]
    public async Task A_restart_can_follow_a_restart()
    {
        var claimant = await _test.ReadyClaimAsync();
        for (var i = 0; i < 5; i++)
        {
            _test.Desk.AllowHandover(claimant.Claim.Id).ShouldBe(true);
            claimant.Leave();
            await claimant.Served.WaitAsync(Bound.Default);
            claimant = _test.Claim();
            (await claimant.HearsAsync(ClaimEvents.Ready)).Sandbox!.Id.ShouldBe("i1");
        }

        await claimant.LeaveAndWaitAsync();
        Service.Alive.ShouldBeEmpty();
        _test.Desk.Status().Used.ShouldBe(0);
    }
}
