namespace InterpreterKernel.Broker.Tests;

public sealed class SpareShelfTests : IDisposable
{
    private static readonly TimeSpan s_quiet = TimeSpan.FromSeconds(2);

    private readonly TestDesk _test;
    private const uint Attachment = 4711;
    private Func<string, CancellationToken, Task> _prepare = (_, _) => Task.CompletedTask;

    public SpareShelfTests() => _test = Desk(limit: null);

    private FakeSandboxService Service => _test.Service;

    public void Dispose() => _test.Dispose();

    [Fact]
    public async Task A_spare_is_made_only_after_its_template_was_used_and_some_quiet()
    {
        _test.Time.Advance(TimeSpan.FromMinutes(5));
        Service.Alive.ShouldBeEmpty();

        await _test.ReadyClaimAsync(Wish());
        Service.Alive.ShouldBe(["i1"]);

        await SpareAsync(_test);
        Service.Alive.ShouldBe(["i1", "i2"], ignoreOrder: true);
        Service.Specs[1].Metadata[SandboxTags.Broker].ShouldBe("this-broker");
        Service.Specs[1].Lifetime.ShouldBe(Service.Specs[0].Lifetime);
        _test.Desk.Status().Used.ShouldBe(1);
        _test.Desk.Spares().ShouldHaveSingleItem().State.ShouldBe("spare");
    }

    [Fact]
    public async Task A_claim_that_wants_none_leaves_none()
    {
        await _test.ReadyClaimAsync();
        await _test.ReadyClaimAsync(Wish() with { Spare = new SpareWish("python3", "relay-1", 0) });
        await _test.ReadyClaimAsync(Wish() with { Spare = new SpareWish("python3", "relay-of-another-version", 1) });
        await _test.ReadyClaimAsync(Wish() with { EnvVars = new Dictionary<string, string> { ["A"] = "1" } });
        _test.Time.Advance(TimeSpan.FromMinutes(1));

        Service.Alive.Count.ShouldBe(4);
    }

    [Fact]
    public async Task The_next_claim_of_its_kind_has_it_at_once_and_it_dies_with_that_claim()
    {
        await _test.ReadyClaimAsync(Wish());
        await SpareAsync(_test);
        var claimant = _test.Claim(Wish("00000000"));
        var ready = await claimant.HearsAsync(ClaimEvents.Ready);

        ready.Sandbox!.Id.ShouldBe("i2");
        ready.Sandbox.Warm.ShouldBeTrue();
        ready.Sandbox.Attachment.ShouldBe(Attachment);
        ready.Sandbox.HandedOver.ShouldBeFalse();
        var status = _test.Desk.Status();
        status.Used.ShouldBe(2);
        status.Spares.ShouldBe(0);

        await claimant.LeaveAndWaitAsync();
        Service.Alive.ShouldBe(["i1"]);
        _test.Desk.Status().Used.ShouldBe(1);
    }

    [Fact]
    public async Task It_is_handed_over_like_any_other_and_is_warm_no_more()
    {
        await _test.ReadyClaimAsync(Wish());
        await SpareAsync(_test);
        var claimant = _test.Claim(Wish("00000000"));
        await claimant.HearsAsync(ClaimEvents.Ready);
        _test.Desk.AllowHandover(claimant.Claim.Id).ShouldBe(true);
        claimant.Leave();
        await claimant.Served.WaitAsync(Bound.Default);

        var next = await _test.Claim(Wish("00000000")).HearsAsync(ClaimEvents.Ready);
        next.Sandbox!.Id.ShouldBe("i2");
        next.Sandbox.HandedOver.ShouldBeTrue();
        next.Sandbox.Warm.ShouldBeFalse();
    }

    [Theory]
    [InlineData("template")]
    [InlineData("python")]
    [InlineData("kernel")]
    [InlineData("lifetime")]
    [InlineData("service")]
    [InlineData("variables")]
    [InlineData("no wish")]
    public async Task A_claim_that_asks_for_anything_else_gets_a_sandbox_of_its_own(string difference)
    {
        await _test.ReadyClaimAsync(Wish());
        await SpareAsync(_test);
        var wish = Wish("00000000");
        var other = await _test.ReadyClaimAsync(difference switch
        {
            "template" => wish with { Template = "another" },
            "python" => wish with { Python = "/opt/python" },
            "kernel" => wish with { Spare = wish.Spare! with { Kernel = "ir" } },
            "lifetime" => wish with { LifetimeSeconds = 30 },
            "service" => wish with { Service = new ServiceAddress { Domain = "e2b.example" } },
            "variables" => wish with { EnvVars = new Dictionary<string, string> { ["A"] = "1" } },
            _ => wish with { Spare = null },
        });

        other.Claim.Spare.ShouldBeNull();
        _test.Desk.Status().Spares.ShouldBe(1);
    }

    [Fact]
    public async Task A_claim_that_comes_while_it_is_being_made_waits_for_the_rest_only()
    {
        var prepared = new TaskCompletionSource();
        var preparing = new TaskCompletionSource();
        _prepare = (_, _) =>
        {
            preparing.TrySetResult();
            return prepared.Task;
        };
        await _test.ReadyClaimAsync(Wish());
        await _test.Time.PassAsync(s_quiet);
        await preparing.Task.WaitAsync(Bound.Default);
        _test.Desk.Status().Spares.ShouldBe(0);

        var claimant = _test.Claim(Wish("00000000"));
        claimant.HeardNothing().ShouldBeTrue();
        prepared.SetResult();

        (await claimant.HearsAsync(ClaimEvents.Ready)).Sandbox!.Warm.ShouldBeTrue();
        Service.Specs.Count.ShouldBe(2);
    }

    [Fact]
    public async Task When_preparing_fails_the_claim_that_has_it_gets_it_cold()
    {
        var prepared = new TaskCompletionSource();
        var preparing = new TaskCompletionSource();
        _prepare = (_, _) =>
        {
            preparing.TrySetResult();
            return prepared.Task;
        };
        await _test.ReadyClaimAsync(Wish());
        await _test.Time.PassAsync(s_quiet);
        await preparing.Task.WaitAsync(Bound.Default);
        var claimant = _test.Claim(Wish("00000000"));
        prepared.SetException(new InvalidOperationException("no python"));

        var ready = await claimant.HearsAsync(ClaimEvents.Ready);
        ready.Sandbox!.Id.ShouldBe("i2");
        ready.Sandbox.Warm.ShouldBeFalse();
        Service.Alive.Count.ShouldBe(2);
    }

    [Fact]
    public async Task One_that_can_not_be_made_ready_is_killed_and_the_next_is_tried_later_and_later()
    {
        _prepare = (_, _) => throw new InvalidOperationException("no python");
        await _test.ReadyClaimAsync(Wish());
        await _test.Time.PassAsync(s_quiet);
        await Service.CallAsync("kill i2");
        await UsedSlotsAsync(_test, 1);

        _test.Time.Advance(TimeSpan.FromSeconds(29));
        Service.Specs.Count.ShouldBe(2);
        _test.Time.Advance(TimeSpan.FromSeconds(10));
        await Service.CallAsync("kill i3");
        await UsedSlotsAsync(_test, 1);
        _test.Time.Advance(TimeSpan.FromSeconds(50));
        Service.Specs.Count.ShouldBe(3);
    }

    [Fact]
    public async Task It_is_given_up_when_a_claim_would_have_to_wait()
    {
        using var test = Desk(limit: 2);
        await test.ReadyClaimAsync(Wish());
        await SpareAsync(test);
        var other = test.Claim(Wish("00000000") with { Template = "another", Wait = new ClaimWait(ClaimWait.RejectPolicy, null) });

        (await other.HearsReadyAsync()).Sandbox!.Id.ShouldBe("i3");
        test.Service.Alive.ShouldBe(["i1", "i3"], ignoreOrder: true);
        test.Service.MostAlive.ShouldBe(2);
    }

    [Fact]
    public async Task None_is_made_while_the_slots_are_all_taken_and_a_smaller_limit_of_a_claim_holds_for_it()
    {
        using var test = Desk(limit: 2);
        await test.ReadyClaimAsync(Wish());
        var second = await test.ReadyClaimAsync(Wish("00000000"));
        await test.Time.PassAsync(s_quiet);
        test.Time.Advance(TimeSpan.FromMinutes(1));
        test.Service.Specs.Count.ShouldBe(2);

        await second.LeaveAndWaitAsync();
        await SpareAsync(test);
        var strict = test.Claim(Wish("00000001") with { Limit = 1, Wait = new ClaimWait(ClaimWait.RejectPolicy, null) });
        (await strict.AwaitsAsync(ClaimEvents.Failed)).Reason.ShouldBe(ClaimReasons.Limit);
    }

    [Fact]
    public async Task It_expires_when_nobody_has_used_its_kind_for_long()
    {
        var claimant = await _test.ReadyClaimAsync(Wish());
        await SpareAsync(_test);
        _test.Time.Advance(TimeSpan.FromMinutes(31));
        await Service.CallAsync("kill i2");
        await UsedSlotsAsync(_test, 1);
        _test.Time.Advance(TimeSpan.FromMinutes(5));

        Service.Specs.Count.ShouldBe(2);
        claimant.Served.IsCompleted.ShouldBeFalse();
    }

    [Fact]
    public async Task One_that_somebody_kills_is_replaced_and_its_slot_is_free_when_the_command_returns()
    {
        await _test.ReadyClaimAsync(Wish());
        await SpareAsync(_test);
        (await _test.Desk.KillSandboxAsync("i2", CancellationToken.None)).ShouldBeTrue();
        Service.Alive.ShouldBe(["i1"]);

        await SpareAsync(_test);
        Service.Alive.ShouldBe(["i1", "i3"], ignoreOrder: true);
    }

    [Fact]
    public async Task The_broker_ends_by_itself_although_it_has_some_and_kills_them()
    {
        var claimant = await _test.ReadyClaimAsync(Wish());
        await SpareAsync(_test);
        await claimant.LeaveAndWaitAsync();
        _test.Time.Advance(TimeSpan.FromMinutes(10));
        await _test.Desk.Idle.WaitAsync(Bound.Default);

        (await _test.Desk.StopAsync(TimeSpan.FromSeconds(10))).ShouldBe(0);
        Service.Alive.ShouldBeEmpty();
        _test.Time.Advance(TimeSpan.FromMinutes(1));
        Service.Alive.ShouldBeEmpty();
    }

    [Fact]
    public async Task No_more_are_kept_than_were_asked_for()
    {
        var wish = Wish() with { Spare = new SpareWish("python3", "relay-1", 2) };
        await _test.ReadyClaimAsync(wish);
        await SpareAsync(_test, 1);
        await SpareAsync(_test, 2);
        _test.Time.Advance(TimeSpan.FromMinutes(1));

        Service.Alive.Count.ShouldBe(3);
    }

    private static ClaimRequest Wish(string key = "0123456789abcdef") => TestDesk.Request(key) with { Spare = new SpareWish("python3", "relay-1", 1) };

    private TestDesk Desk(int? limit) => new(limit, new SpareOptions
    {
        Relay = "relay-1",
        PrepareAsync = async (_, kernel, cancellation) =>
        {
            await _prepare(kernel, cancellation);
            return Attachment;
        },
    });

    /// <summary>Lets the quiet pass and waits until the spare is ready.</summary>
    private static async Task SpareAsync(TestDesk test, int count = 1)
    {
        await test.Time.PassAsync(s_quiet);
        await EventuallyAsync(() => test.Desk.Status().Spares == count);
    }

    private static Task UsedSlotsAsync(TestDesk test, int count) => EventuallyAsync(() => test.Service.Alive.Count == count && test.Desk.Status().Used == count);

    // The desk's status has no event of its own: it is asked until it says so, within the bound.
    private static async Task EventuallyAsync(Func<bool> check)
    {
        using var bound = new CancellationTokenSource(Bound.Default);
        while (!check())
        {
            await Task.Delay(5, bound.Token);
        }
    }
}
