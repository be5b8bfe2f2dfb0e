using System.Text.Json;

namespace InterpreterKernel.Broker.Tests;

public sealed class ClaimDeskTests : IDisposable
{
    private static readonly TimeSpan s_renewal = TimeSpan.FromSeconds(20);

    private readonly TestDesk _test = new();

    private FakeSandboxService Service => _test.Service;

    public void Dispose() => _test.Dispose();

    [Fact]
    public async Task A_claim_gets_a_sandbox_with_a_short_lease_and_our_tags()
    {
        var claimant = _test.Claim(TestDesk.Request() with
        {
            Template = "t",
            Metadata = new Dictionary<string, string> { ["mine"] = "1" },
            Python = "/usr/bin/python3",
        });
        var ready = await claimant.HearsReadyAsync();

        ready.Claim.ShouldBe(claimant.Claim.Id);
        ready.Sandbox.ShouldBe(new GrantedSandbox("i1", "token-i1", null, "/host.sock", false));
        var spec = Service.Specs.ShouldHaveSingleItem();
        spec.Template.ShouldBe("t");
        spec.Lifetime.ShouldBe(TimeSpan.FromSeconds(60));
        spec.Metadata.ShouldBe(
            new Dictionary<string, string>
            {
                ["mine"] = "1",
                [SandboxTags.Broker] = "this-broker",
                [SandboxTags.Host] = "this-host",
                [SandboxTags.Claim] = claimant.Claim.Id,
                [SandboxTags.Python] = "/usr/bin/python3",
            },
            ignoreOrder: true);
    }

    [Fact]
    public async Task When_the_connection_ends_the_sandbox_is_killed_and_the_slot_is_free_once_that_is_confirmed()
    {
        var confirmed = new TaskCompletionSource();
        Service.OnKill = (_, _) => confirmed.Task;
        var claimant = await _test.ReadyClaimAsync();
        claimant.Leave();
        await Service.CallAsync("kill i1");

        _test.StateOf(claimant).ShouldBe("killing");
        _test.Desk.Status().Used.ShouldBe(1);

        confirmed.SetResult();
        await claimant.Claim.Closed.WaitAsync(Bound.Default);
        _test.Desk.Status().Used.ShouldBe(0);
        Service.Alive.ShouldBeEmpty();
    }

    [Fact]
    public async Task A_connection_that_ends_during_creation_costs_the_sandbox_its_life_as_soon_as_it_is_there()
    {
        var creation = new TaskCompletionSource();
        Service.OnCreate = _ => creation.Task;
        var claimant = _test.Claim();
        await claimant.HearsAsync(ClaimEvents.Creating);
        claimant.Leave();
        await claimant.Served.WaitAsync(Bound.Default);
        _test.Desk.Status().Used.ShouldBe(1);

        creation.SetResult();
        await Service.CallAsync("kill i1");
        await claimant.Claim.Closed.WaitAsync(Bound.Default);
        _test.Desk.Status().Used.ShouldBe(0);
    }

    [Fact]
    public async Task A_connection_that_ends_in_the_queue_leaves_the_queue()
    {
        var holder = await _test.ReadyClaimAsync(TestDesk.Request() with { Limit = 1 });
        var second = _test.Claim(TestDesk.Request() with { Limit = 1 });
        var third = _test.Claim(TestDesk.Request() with { Limit = 1 });
        (await second.HearsAsync(ClaimEvents.Queued)).Position.ShouldBe(1);
        (await third.HearsAsync(ClaimEvents.Queued)).Position.ShouldBe(2);

        await second.LeaveAndWaitAsync();

        (await third.HearsAsync(ClaimEvents.Queued)).Position.ShouldBe(1);
        await holder.LeaveAndWaitAsync();
        await third.HearsReadyAsync();
        Service.MostAlive.ShouldBe(1);
    }

    [Fact]
    public async Task Forty_claims_at_a_limit_of_ten_are_served_in_their_order()
    {
        List<Claimant> claimants = [];
        for (var i = 0; i < 40; i++)
        {
            claimants.Add(_test.Claim(TestDesk.Request() with { Limit = 10 }));
        }

        for (var i = 0; i < 40; i++)
        {
            // Whoever is next has the place to show for it; nobody behind is ahead.
            await claimants[i].AwaitsAsync(ClaimEvents.Ready);
            claimants.Skip(i + 10).Any(c => c.Claim.Held is not null).ShouldBeFalse();
            await claimants[i].LeaveAndWaitAsync();
        }

        Service.MostAlive.ShouldBe(10);
        _test.Desk.Status().ShouldSatisfyAllConditions(s => s.Used.ShouldBe(0), s => s.Queued.ShouldBe(0));
    }

    [Theory]
    [InlineData(20)]
    [InlineData(15)]
    [InlineData(7)]
    public async Task Fifteen_workers_with_forty_tasks_never_exceed_the_limit(int limit)
    {
        var tasks = new System.Collections.Concurrent.ConcurrentQueue<int>(Enumerable.Range(0, 40));
        async Task WorkAsync(int worker)
        {
            var random = new Random(worker);
            while (tasks.TryDequeue(out _))
            {
                var claimant = _test.Claim(TestDesk.Request() with { Limit = limit });
                await claimant.AwaitsAsync(ClaimEvents.Ready);
                for (var i = random.Next(20); i > 0; i--)
                {
                    await Task.Yield();
                }

                claimant.Leave();
            }
        }

        await Task.WhenAll(Enumerable.Range(0, 15).Select(WorkAsync)).WaitAsync(Bound.Default);
        Service.MostAlive.ShouldBeLessThanOrEqualTo(limit);
        Service.Specs.Count.ShouldBe(40);
    }

    [Fact]
    public async Task A_full_account_teaches_the_limit_and_all_claims_are_served_in_the_end()
    {
        Service.Limit = 3;
        var claimants = Enumerable.Range(0, 5).Select(_ => _test.Claim()).ToList();
        await Task.WhenAll(claimants.Take(3).Select(c => c.AwaitsAsync(ClaimEvents.Ready)));
        await claimants[3].AwaitsAsync(ClaimEvents.Queued);
        await claimants[4].AwaitsAsync(ClaimEvents.Queued);

        var status = _test.Desk.Status();
        status.Limit.ShouldBe(3);
        status.Accounts.ShouldHaveSingleItem().LearnedLimit.ShouldBe(3);
        (status.Used, status.Queued).ShouldBe((3, 2));

        await claimants[0].LeaveAndWaitAsync();
        await claimants[3].AwaitsAsync(ClaimEvents.Ready);
        await claimants[1].LeaveAndWaitAsync();
        await claimants[4].AwaitsAsync(ClaimEvents.Ready);
    }

    [Fact]
    public async Task When_others_give_slots_of_the_account_back_a_waiting_claim_finds_out_by_itself()
    {
        Service.Limit = 2;
        Service.HeldByOthers = 2;
        var claimant = _test.Claim();
        await claimant.AwaitsAsync(ClaimEvents.Queued);
        await _test.Time.PassAsync(TimeSpan.FromMilliseconds(500));
        await claimant.AwaitsAsync(ClaimEvents.Creating);
        (await claimant.AwaitsAsync(ClaimEvents.Queued)).Position.ShouldBe(1);

        Service.HeldByOthers = 0;
        await _test.Time.PassAsync(TimeSpan.FromSeconds(1));
        await claimant.AwaitsAsync(ClaimEvents.Ready);
    }

    [Fact]
    public async Task A_claim_that_does_not_wait_fails_at_once_when_no_slot_is_free()
    {
        await _test.ReadyClaimAsync(TestDesk.Request() with { Limit = 1 });
        var claimant = _test.Claim(TestDesk.Request() with { Limit = 1, Wait = new ClaimWait(ClaimWait.RejectPolicy, null) });

        var failed = await claimant.HearsAsync(ClaimEvents.Failed);
        failed.Reason.ShouldBe(ClaimReasons.Limit);
        failed.Message!.ShouldContain("limit in force is 1");
        await claimant.Claim.Closed.WaitAsync(Bound.Default);
    }

    [Fact]
    public async Task A_claim_that_waits_for_so_long_fails_after_that()
    {
        await _test.ReadyClaimAsync(TestDesk.Request() with { Limit = 1 });
        var claimant = _test.Claim(TestDesk.Request() with { Limit = 1, Wait = new ClaimWait(ClaimWait.WaitPolicy, 5) });
        await claimant.HearsAsync(ClaimEvents.Queued);

        await _test.Time.PassAsync(TimeSpan.FromSeconds(5));

        (await claimant.HearsAsync(ClaimEvents.Failed)).Message!.ShouldContain("within 5 s");
        await claimant.Claim.Closed.WaitAsync(Bound.Default);
        _test.Desk.Status().Queued.ShouldBe(0);
    }

    [Fact]
    public async Task The_lease_is_renewed_every_third_of_its_length()
    {
        await _test.ReadyClaimAsync();
        for (var i = 0; i < 5; i++)
        {
            await _test.Time.PassAsync(s_renewal);
            (await Service.CallAsync("renew")).ShouldBe("renew i1 60");
        }
    }

    [Fact]
    public async Task A_sandbox_that_somebody_killed_is_told_as_lost_and_its_slot_is_free()
    {
        var claimant = await _test.ReadyClaimAsync();
        Service.Remove("i1");
        await _test.Time.PassAsync(s_renewal);

        (await claimant.HearsAsync(ClaimEvents.Lost)).Reason.ShouldBe(ClaimReasons.Killed);
        await claimant.Claim.Closed.WaitAsync(Bound.Default);
        _test.Desk.Status().Used.ShouldBe(0);
        Service.Calls.TryPeek(out var call).ShouldBeTrue();
        call.ShouldBe("create");
    }

    [Fact]
    public async Task A_sandbox_whose_lease_ended_while_the_machine_slept_is_told_as_expired()
    {
        var claimant = await _test.ReadyClaimAsync();
        await _test.Time.AwaitedAsync(s_renewal);
        Service.Remove("i1");
        _test.Time.Sleep(TimeSpan.FromHours(8));

        (await claimant.HearsAsync(ClaimEvents.Lost)).Reason.ShouldBe(ClaimReasons.Expired);
    }

    [Fact]
    public async Task A_renewal_that_fails_is_repeated_soon_and_shown_until_it_works_again()
    {
        var claimant = await _test.ReadyClaimAsync();
        Service.OnRenew = (_, _) => throw new ServiceException(ServiceFault.Unreachable, "no route");
        await _test.Time.PassAsync(s_renewal);
        await Service.CallAsync("renew");
        await _test.Time.PassAsync(TimeSpan.FromSeconds(2));
        await Service.CallAsync("renew");
        _test.Desk.Status().Claims.ShouldHaveSingleItem().Trouble!.ShouldContain("no route");

        Service.OnRenew = null;
        await _test.Time.PassAsync(TimeSpan.FromSeconds(2));
        await Service.CallAsync("renew");
        await _test.Time.PassAsync(s_renewal);
        await Service.CallAsync("renew");
        _test.Desk.Status().Claims.ShouldHaveSingleItem().Trouble.ShouldBeNull();
        claimant.HeardNothing().ShouldBeTrue();
    }

    [Fact]
    public async Task A_lease_that_cannot_be_renewed_until_its_end_is_lost_with_the_reason()
    {
        var claimant = await _test.ReadyClaimAsync();
        Service.OnRenew = (_, _) => throw new ServiceException(ServiceFault.Unreachable, "no route");
        await _test.Time.PassAsync(s_renewal);
        for (var i = 0; i < 20; i++)
        {
            await _test.Time.PassAsync(TimeSpan.FromSeconds(2));
        }

        var lost = await claimant.HearsAsync(ClaimEvents.Lost);
        lost.Reason.ShouldBe(ClaimReasons.Expired);
        lost.Message!.ShouldContain("no route");

        // The service may have heard a renewal that we believe failed, so the kill still counts.
        await Service.CallAsync("kill i1");
        await claimant.Claim.Closed.WaitAsync(Bound.Default);
    }

    [Fact]
    public async Task A_key_that_is_revoked_meanwhile_is_the_reason()
    {
        var claimant = await _test.ReadyClaimAsync();
        Service.OnRenew = (_, _) => throw new ServiceException(ServiceFault.Authentication, "API key is invalid");
        await _test.Time.PassAsync(s_renewal);
        for (var i = 0; i < 20; i++)
        {
            await _test.Time.AwaitedAsync(TimeSpan.FromSeconds(2));
            _test.Desk.Status().Claims.ShouldHaveSingleItem().Trouble!.ShouldContain("API key is invalid");
            _test.Time.Advance(TimeSpan.FromSeconds(2));
        }

        var lost = await claimant.HearsAsync(ClaimEvents.Lost);
        lost.Reason.ShouldBe(ClaimReasons.Authentication);
        lost.Message!.ShouldContain("no longer accepts the API key");
        await claimant.Claim.Closed.WaitAsync(Bound.Default);
    }

    [Fact]
    public async Task A_kill_is_repeated_until_it_is_confirmed_and_the_slot_counts_meanwhile()
    {
        var failures = 3;
        Service.OnKill = (_, _) => failures-- > 0 ? throw new ServiceException(ServiceFault.Unreachable, "no route") : Task.CompletedTask;
        var claimant = await _test.ReadyClaimAsync(TestDesk.Request() with { Limit = 1 });
        claimant.Leave();
        var waiting = _test.Claim(TestDesk.Request() with { Limit = 1 });
        await waiting.HearsAsync(ClaimEvents.Queued);

        foreach (var pause in (double[])[0.25, 0.5, 1])
        {
            await Service.CallAsync("kill i1");
            _test.StateOf(claimant).ShouldBe("killing");
            await _test.Time.PassAsync(TimeSpan.FromSeconds(pause));
        }

        await waiting.HearsReadyAsync();
        Service.MostAlive.ShouldBe(1);
    }

    [Fact]
    public async Task A_kill_that_is_never_confirmed_counts_until_the_lease_must_have_ended()
    {
        Service.OnKill = (_, _) => throw new ServiceException(ServiceFault.Unreachable, "no route");
        var claimant = await _test.ReadyClaimAsync();
        claimant.Leave();
        foreach (var pause in (double[])[0.25, 0.5, 1, 2, 4, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5])
        {
            await Service.CallAsync("kill i1");
            _test.StateOf(claimant).ShouldBe("killing");
            await _test.Time.PassAsync(TimeSpan.FromSeconds(pause));
        }

        _test.Desk.Status().Claims.ShouldHaveSingleItem().Trouble!.ShouldContain("no route");
        await _test.Time.PassAsync(TimeSpan.FromSeconds(2.25));
        await claimant.Claim.Closed.WaitAsync(Bound.Default);
        _test.Desk.Status().Used.ShouldBe(0);
    }

    [Fact]
    public async Task A_kill_without_an_answer_is_tried_again()
    {
        Service.OnKill = (_, cancellation) => Task.Delay(Timeout.InfiniteTimeSpan, cancellation);
        var claimant = await _test.ReadyClaimAsync();
        claimant.Leave();
        await Service.CallAsync("kill i1");
        Service.OnKill = null;

        await _test.Time.PassAsync(TimeSpan.FromSeconds(10));
        await _test.Time.PassAsync(TimeSpan.FromMilliseconds(250));

        await claimant.Claim.Closed.WaitAsync(Bound.Default);
        Service.Alive.ShouldBeEmpty();
    }

    [Theory]
    [InlineData((int)ServiceFault.Authentication, ClaimReasons.Authentication)]
    [InlineData((int)ServiceFault.NotFound, ClaimReasons.NotFound)]
    [InlineData((int)ServiceFault.Rejected, ClaimReasons.Rejected)]
    [InlineData((int)ServiceFault.EmbeddedHost, ClaimReasons.EmbeddedHost)]
    [InlineData((int)ServiceFault.Unreachable, ClaimReasons.Unreachable)]
    [InlineData((int)ServiceFault.ServiceError, ClaimReasons.Service)]
    public async Task A_creation_that_fails_ends_the_claim_with_its_reason_and_frees_the_slot(int fault, string reason)
    {
        Service.OnCreate = _ => throw new ServiceException((ServiceFault)fault, "because of this");
        var claimant = _test.Claim();
        await claimant.HearsAsync(ClaimEvents.Creating);
        var failed = await claimant.HearsAsync(ClaimEvents.Failed);

        failed.Reason.ShouldBe(reason);
        failed.Message!.ShouldContain("because of this");
        await claimant.Claim.Closed.WaitAsync(Bound.Default);
        _test.Desk.Status().Used.ShouldBe(0);
    }

    [Fact]
    public async Task An_order_that_never_left_is_not_looked_for()
    {
        Service.OnCreate = _ => throw new ServiceException(ServiceFault.NeverSent, "connection refused");
        Service.OnList = () => throw new InvalidOperationException("nobody is there to be asked");
        var claimant = _test.Claim();
        (await claimant.AwaitsAsync(ClaimEvents.Failed)).Reason.ShouldBe(ClaimReasons.Unreachable);
        await claimant.Claim.Closed.WaitAsync(Bound.Default);
        _test.Desk.Status().Used.ShouldBe(0);
    }

    [Theory]
    [InlineData((int)ServiceFault.Unreachable)]
    [InlineData((int)ServiceFault.ServiceError)]
    public async Task A_sandbox_that_was_created_although_the_answer_got_lost_is_found_and_killed(int fault)
    {
        Service.LoseAnswer = (ServiceFault)fault;
        Service.Add("stranger", new Dictionary<string, string> { [SandboxTags.Host] = "this-host", [SandboxTags.Broker] = "another" });
        var claimant = _test.Claim();
        await claimant.AwaitsAsync(ClaimEvents.Failed);
        await claimant.Claim.Closed.WaitAsync(Bound.Default);

        Service.Alive.ShouldBe(["stranger"]);
    }

    [Fact]
    public async Task After_a_creation_without_an_answer_the_sandbox_is_looked_for_once_more()
    {
        Service.OnCreate = _ => throw new ServiceException(ServiceFault.Timeout, "no answer");
        var claimant = _test.Claim();
        await claimant.AwaitsAsync(ClaimEvents.Failed);
        await Service.CallAsync("list");
        Service.Add("late", new Dictionary<string, string> { [SandboxTags.Broker] = "this-broker", [SandboxTags.Claim] = claimant.Claim.Id });
        foreach (var pause in (double[])[0.25, 0.5, 1, 2, 4, 5])
        {
            _test.Desk.Status().Used.ShouldBe(1);
            await _test.Time.PassAsync(TimeSpan.FromSeconds(pause));
        }

        await claimant.Claim.Closed.WaitAsync(Bound.Default);
        Service.Alive.ShouldBeEmpty();
    }

    [Fact]
    public async Task A_busy_service_is_asked_again_while_the_claim_waits()
    {
        var failures = 2;
        Service.OnCreate = _ => failures-- > 0 ? throw new ServiceException(ServiceFault.Busy, "no capacity") : Task.CompletedTask;
        var claimant = _test.Claim();
        await _test.Time.PassAsync(TimeSpan.FromSeconds(1));
        await _test.Time.PassAsync(TimeSpan.FromSeconds(2));
        await claimant.HearsReadyAsync();
    }

    [Fact]
    public async Task Too_many_requests_are_repeated_when_the_service_said()
    {
        var failures = 1;
        Service.OnCreate = _ => failures-- > 0
            ? throw new ServiceException(ServiceFault.RateLimited, "slow down", TimeSpan.FromSeconds(3))
            : Task.CompletedTask;
        var claimant = _test.Claim();
        await claimant.AwaitsAsync(ClaimEvents.Queued);
        await _test.Time.PassAsync(TimeSpan.FromSeconds(3));
        await claimant.HearsReadyAsync();
        _test.Desk.Status().Accounts.ShouldHaveSingleItem().LearnedLimit.ShouldBeNull();
    }

    [Fact]
    public async Task Release_returns_when_the_kill_is_confirmed()
    {
        var confirmed = new TaskCompletionSource();
        Service.OnKill = (_, _) => confirmed.Task;
        var claimant = await _test.ReadyClaimAsync();
        var release = _test.Desk.ReleaseAsync(claimant.Claim.Id, CancellationToken.None);
        await Service.CallAsync("kill i1");
        release.IsCompleted.ShouldBeFalse();

        confirmed.SetResult();
        (await release.WaitAsync(Bound.Default)).ShouldBeTrue();
        (await claimant.HearsAsync(ClaimEvents.Lost)).Reason.ShouldBe(ClaimReasons.Released);
        (await _test.Desk.ReleaseAsync(claimant.Claim.Id, CancellationToken.None)).ShouldBeFalse();
    }

    [Fact]
    public async Task A_sandbox_killed_through_the_broker_is_told_to_its_holder()
    {
        var claimant = await _test.ReadyClaimAsync();

        (await _test.Desk.KillSandboxAsync("i1", CancellationToken.None)).ShouldBeTrue();
        (await claimant.HearsAsync(ClaimEvents.Lost)).Reason.ShouldBe(ClaimReasons.Killed);
        (await _test.Desk.KillSandboxAsync("i1", CancellationToken.None)).ShouldBeFalse();
    }

    [Fact]
    public async Task A_stop_kills_everything_in_parallel_and_tells_everybody()
    {
        var kills = new CountdownEvent(3);
        var go = new TaskCompletionSource();
        Service.OnKill = (_, _) =>
        {
            if (kills.Signal())
            {
                go.SetResult();
            }

            // Confirmed only when all three are on their way.
            return go.Task;
        };
        var holders = new List<Claimant>();
        for (var i = 0; i < 3; i++)
        {
            holders.Add(await _test.ReadyClaimAsync(TestDesk.Request() with { Limit = 3 }));
        }

        _test.Desk.AllowHandover(holders[0].Claim.Id);
        var waiting = _test.Claim(TestDesk.Request("ffffffff") with { Limit = 3 });
        await waiting.HearsAsync(ClaimEvents.Queued);

        (await _test.Desk.StopAsync(Bound.Default).WaitAsync(Bound.Default)).ShouldBe(0);

        Service.Alive.ShouldBeEmpty();
        foreach (var holder in holders)
        {
            (await holder.HearsAsync(ClaimEvents.Lost)).Reason.ShouldBe(ClaimReasons.Stopping);
        }

        (await waiting.HearsAsync(ClaimEvents.Failed)).Reason.ShouldBe(ClaimReasons.Stopping);
        Should.Throw<BrokerException>(() => _test.Claim()).Fault.ShouldBe(BrokerFault.Stopping);
    }

    [Fact]
    public async Task A_stop_waits_for_kills_but_not_for_ever()
    {
        Service.OnKill = (_, cancellation) => Task.Delay(Timeout.InfiniteTimeSpan, cancellation);
        await _test.ReadyClaimAsync();
        var stop = _test.Desk.StopAsync(TimeSpan.FromSeconds(7));
        await Service.CallAsync("kill i1");
        await _test.Time.PassAsync(TimeSpan.FromSeconds(7));

        (await stop.WaitAsync(Bound.Default)).ShouldBe(1);
    }

    [Fact]
    public async Task The_desk_closes_when_it_was_idle_for_long_enough_and_not_before()
    {
        var tenMinutes = TimeSpan.FromMinutes(10);
        _test.Time.Advance(tenMinutes - TimeSpan.FromSeconds(1));
        var claimant = await _test.ReadyClaimAsync();
        _test.Time.Advance(TimeSpan.FromSeconds(19));
        await claimant.LeaveAndWaitAsync();
        _test.Time.Advance(tenMinutes - TimeSpan.FromSeconds(1));
        _test.Desk.Idle.IsCompleted.ShouldBeFalse();

        _test.Time.Advance(TimeSpan.FromSeconds(1));
        await _test.Desk.Idle.WaitAsync(Bound.Default);
        Should.Throw<BrokerException>(() => _test.Claim()).Fault.ShouldBe(BrokerFault.Stopping);
    }

    [Fact]
    public async Task Each_account_has_its_own_slots()
    {
        var remote = new ServiceAddress { ApiKey = "e2b_one" };
        await _test.ReadyClaimAsync(TestDesk.Request() with { Limit = 1 });
        await _test.ReadyClaimAsync(TestDesk.Request() with { Limit = 1, Service = remote });
        await _test.ReadyClaimAsync(TestDesk.Request() with { Limit = 1, Service = remote with { ApiKey = "e2b_two" } });
        var waiting = _test.Claim(TestDesk.Request() with { Limit = 1, Service = remote });
        await waiting.HearsAsync(ClaimEvents.Queued);

        var status = _test.Desk.Status();
        status.Accounts.Select(a => (a.Service, a.Used, a.Queued)).ShouldBe([("embedded", 1, 0), ("e2b.app", 1, 1), ("e2b.app (2)", 1, 0)]);
        (status.Limit, status.Used, status.Queued).ShouldBe((3, 3, 1));
    }

    [Fact]
    public async Task Neither_status_nor_logs_of_requests_hold_keys_tokens_or_environments()
    {
        var request = TestDesk.Request() with
        {
            Service = new ServiceAddress { ApiKey = "e2b_secret" },
            EnvVars = new Dictionary<string, string> { ["PASSWORD"] = "secret" },
            Owner = new ClaimOwner(4711, "a.ipynb"),
        };
        var claimant = await _test.ReadyClaimAsync(request);
        var json = JsonSerializer.Serialize(_test.Desk.Status(), BrokerJson.Default.BrokerStatus);

        json.ShouldNotContain("secret");
        json.ShouldNotContain("token");
        json.ShouldContain("4711");
        json.ShouldContain("a.ipynb");
        request.ToString().ShouldNotContain("secret");
        request.Service.ToString().ShouldNotContain("secret");
        claimant.Claim.Request.Service.ShouldBeNull();
    }

    [Fact]
    public async Task A_dead_brokers_sandboxes_are_swept_when_their_account_is_first_used_and_nobody_elses()
    {
        using var test = new TestDesk(null, "dead");
        void Add(string id, string broker, string host) =>
            test.Remote.Add(id, new Dictionary<string, string> { [SandboxTags.Broker] = broker, [SandboxTags.Host] = host });
        Add("ours", "dead", "this-host");
        Add("other-directory", "living", "this-host");
        Add("other-machine", "dead", "other-host");
        test.Remote.Add("untagged", new Dictionary<string, string>());

        await test.ReadyClaimAsync(TestDesk.Request() with { Service = new ServiceAddress { ApiKey = "k" } });
        await test.Remote.CallAsync("kill ours");
        await test.ReadyClaimAsync(TestDesk.Request() with { Service = new ServiceAddress { ApiKey = "k" } });

        test.Remote.Alive.ShouldBe(["other-directory", "other-machine", "untagged", "i1", "i2"], ignoreOrder: true);
    }
}
