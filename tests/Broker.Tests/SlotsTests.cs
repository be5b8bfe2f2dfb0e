namespace InterpreterKernel.Broker.Tests;

public sealed class SlotsTests : IDisposable
{
    private readonly FakeTime _time = new();
    private readonly Slots _slots;

    public SlotsTests() => _slots = new Slots(_time, null);

    public void Dispose() => _slots.Dispose();

    [Fact]
    public void The_first_claims_up_to_the_limit_get_a_slot_and_the_others_hear_their_place()
    {
        var tickets = Enter(4, limit: 2);

        tickets.Select(Hear).ShouldBe([Granted(2), Granted(2), Waits(1, 2), Waits(2, 2)]);
    }

    [Fact]
    public void Everyone_who_waits_hears_of_every_move_of_the_queue()
    {
        var tickets = Enter(4, limit: 1);
        tickets.ForEach(t => Hear(t));

        _slots.Leave(tickets[2]);
        Hear(tickets[1]).ShouldBeNull();
        Hear(tickets[3]).ShouldBe(Waits(2, 1));

        _slots.Leave(tickets[0]);
        Hear(tickets[1]).ShouldBe(Granted(1));
        Hear(tickets[3]).ShouldBe(Waits(1, 1));
    }

    [Fact]
    public void Slots_are_granted_in_the_order_of_arrival()
    {
        var tickets = Enter(40, limit: 10);
        var random = new Random(4);
        List<int> order = [.. Enumerable.Range(0, 10)];
        var held = tickets.Take(10).ToList();
        while (held.Count > 0)
        {
            var leaving = held[random.Next(held.Count)];
            held.Remove(leaving);
            _slots.Leave(leaving);
            foreach (var ticket in tickets.Where(t => t.State == TicketState.Granted && !held.Contains(t)).ToList())
            {
                held.Add(ticket);
                order.Add(tickets.IndexOf(ticket));
            }

            held.Count.ShouldBeLessThanOrEqualTo(10);
        }

        order.ShouldBe(Enumerable.Range(0, 40));
    }

    [Fact]
    public void A_claim_that_only_its_own_limit_holds_back_does_not_hold_back_others()
    {
        var first = _slots.Enter(2);
        var second = _slots.Enter(2);
        var narrow = _slots.Enter(1);
        var wide = _slots.Enter(3);

        new[] { first, second, narrow, wide }.Select(t => t.State)
            .ShouldBe([TicketState.Granted, TicketState.Granted, TicketState.Waiting, TicketState.Granted]);

        _slots.Leave(first);
        _slots.Leave(second);
        narrow.State.ShouldBe(TicketState.Waiting);
        _slots.Leave(wide);
        narrow.State.ShouldBe(TicketState.Granted);
    }

    [Fact]
    public void Slots_are_granted_no_faster_than_the_pace_and_in_order()
    {
        using var slots = new Slots(_time, null, new Pace(3, TimeSpan.FromSeconds(1)));
        var tickets = Enumerable.Range(0, 5).Select(_ => slots.Enter(20)).ToList();
        States().ShouldBe("GGGWW");

        _time.Advance(TimeSpan.FromMilliseconds(999));
        States().ShouldBe("GGGWW");
        _time.Advance(TimeSpan.FromMilliseconds(1));
        States().ShouldBe("GGGGW");

        // A slot that becomes free is no reason to order faster.
        slots.Leave(tickets[0]);
        tickets.RemoveAt(0);
        States().ShouldBe("GGGW");
        _time.Advance(TimeSpan.FromSeconds(1));
        States().ShouldBe("GGGG");

        // After a rest there is a burst again, and no more than one.
        _time.Advance(TimeSpan.FromMinutes(1));
        tickets.AddRange(Enumerable.Range(0, 5).Select(_ => slots.Enter(20)));
        States().ShouldBe("GGGGGGGWW");

        string States() => string.Concat(tickets.Select(t => t.State == TicketState.Granted ? 'G' : 'W'));
    }

    [Fact]
    public void The_brokers_limit_bounds_the_claims()
    {
        using var slots = new Slots(_time, 1);

        slots.Enter(20).State.ShouldBe(TicketState.Granted);
        slots.Enter(20).State.ShouldBe(TicketState.Waiting);
        slots.Count().Limit.ShouldBe(1);
    }

    [Fact]
    public void A_refusal_lowers_the_limit_and_the_claim_keeps_its_place()
    {
        var tickets = Enter(4, limit: 3);
        tickets.ForEach(t => Hear(t));

        _slots.Refuse(tickets[2]);

        Hear(tickets[2]).ShouldBe(Waits(1, 2));
        Hear(tickets[3]).ShouldBe(Waits(2, 2));
        _slots.Count().ShouldBe(new SlotCounts(2, 2, 2, 2));

        _slots.Leave(tickets[0]);
        tickets[2].State.ShouldBe(TicketState.Granted);
        tickets[3].State.ShouldBe(TicketState.Waiting);
    }

    [Fact]
    public void A_burst_of_refusals_teaches_the_true_limit()
    {
        var tickets = Enter(10, limit: 10);

        foreach (var ticket in tickets.Skip(6))
        {
            _slots.Refuse(ticket);
        }

        _slots.Count().ShouldBe(new SlotCounts(6, 6, 6, 4));
    }

    [Fact]
    public void One_claim_after_the_other_tries_to_go_beyond_what_was_learned()
    {
        var tickets = Enter(5, limit: 10);
        _slots.Refuse(tickets[4]);
        _slots.Refuse(tickets[3]);
        _slots.Refuse(tickets[2]);

        _time.Advance(TimeSpan.FromMilliseconds(500));
        tickets.Select(t => t.State == TicketState.Granted).ShouldBe([true, true, true, false, false]);

        // It went well, so the next one may try at once, and so on.
        _slots.Confirm(tickets[2]);
        tickets[3].State.ShouldBe(TicketState.Granted);
        _slots.Count().Learned.ShouldBe(3);
        _slots.Confirm(tickets[3]);
        tickets[4].State.ShouldBe(TicketState.Granted);
    }

    [Fact]
    public void After_a_failed_try_the_next_one_waits_twice_as_long()
    {
        var tickets = Enter(2, limit: 10);
        _slots.Refuse(tickets[1]);
        foreach (var seconds in (double[])[0.5, 1, 2, 4, 8, 16, 30, 30])
        {
            _time.Advance(TimeSpan.FromSeconds(seconds) - TimeSpan.FromMilliseconds(1));
            tickets[1].State.ShouldBe(TicketState.Waiting);
            _time.Advance(TimeSpan.FromMilliseconds(1));
            tickets[1].State.ShouldBe(TicketState.Granted);
            _slots.Refuse(tickets[1]);
        }
    }

    [Fact]
    public void Even_when_others_hold_the_whole_account_a_claim_keeps_trying()
    {
        var ticket = _slots.Enter(null);
        _slots.Refuse(ticket);

        _slots.Count().ShouldBe(new SlotCounts(1, 0, 0, 1));
        _time.Advance(TimeSpan.FromMilliseconds(500));
        ticket.State.ShouldBe(TicketState.Granted);
    }

    [Fact]
    public void A_lesson_that_nothing_confirms_is_forgotten()
    {
        var tickets = Enter(2, limit: 2);
        _slots.Refuse(tickets[1]);
        _slots.Leave(tickets[1]);
        _slots.Count().Learned.ShouldBe(1);

        _time.Advance(TimeSpan.FromMinutes(6));

        _slots.Count().Learned.ShouldBeNull();
        _slots.Enter(2).State.ShouldBe(TicketState.Granted);
    }

    [Fact]
    public void When_the_service_wants_fewer_requests_nobody_asks_until_the_pause_is_over_and_nothing_is_learned()
    {
        var first = _slots.Enter(5);
        _slots.Pause(first, TimeSpan.FromSeconds(7));
        var second = _slots.Enter(5);

        _time.Advance(TimeSpan.FromSeconds(6));
        second.State.ShouldBe(TicketState.Waiting);
        _time.Advance(TimeSpan.FromSeconds(1));
        first.State.ShouldBe(TicketState.Granted);
        second.State.ShouldBe(TicketState.Granted);
        _slots.Count().Learned.ShouldBeNull();
    }

    [Fact]
    public void Leaving_twice_frees_one_slot()
    {
        var tickets = Enter(3, limit: 1);
        _slots.Leave(tickets[0]);
        _slots.Leave(tickets[0]);

        tickets.Select(t => t.State).ShouldBe([TicketState.Left, TicketState.Granted, TicketState.Waiting]);
    }

    private static TicketNews Granted(int limit) => new(true, 0, limit);

    private static TicketNews Waits(int position, int limit) => new(false, position, limit);

    private static TicketNews? Hear(Ticket ticket) => ticket.News.TryRead(out var news) ? news : null;

    private List<Ticket> Enter(int count, int limit) => [.. Enumerable.Range(0, count).Select(_ => _slots.Enter(limit))];
}
