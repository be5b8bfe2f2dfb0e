using System.Text;
using InterpreterKernel.Protocol.ZeroMq;

namespace InterpreterKernel.Protocol.Tests.ZeroMq;

public sealed class ZeroMqSocketTests : IDisposable
{
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(20);

    private readonly ZeroMqContext _context = new();
    private readonly ZeroMqSocket _router;
    private readonly ZeroMqSocket _dealer;

    public ZeroMqSocketTests()
    {
        (_router, _dealer) = Pair(1 << 20);
    }

    public void Dispose()
    {
        _router.Dispose();
        _dealer.Dispose();
        _context.Dispose();
    }

    [Fact]
    public void Frames_arrive_as_they_were_sent_small_large_and_empty()
    {
        var large = new byte[200_000];
        new Random(1).NextBytes(large);
        ReadOnlyMemory<byte>[] sent = [Utf8("a"), ReadOnlyMemory<byte>.Empty, large, Utf8("end")];

        _dealer.TrySend(sent).ShouldBeTrue();

        var received = Receive(_router);
        received.Length.ShouldBe(5);
        received.Skip(1).Select(f => Convert.ToHexString(f.Span)).ShouldBe(sent.Select(f => Convert.ToHexString(f.Span)));
    }

    [Fact]
    public void A_message_over_the_bounds_is_thrown_away_whole_and_the_next_one_arrives()
    {
        _dealer.TrySend([new byte[600_000], new byte[600_000]]).ShouldBeTrue();
        _dealer.TrySend(Enumerable.Repeat((ReadOnlyMemory<byte>)Utf8("x"), ZeroMqSocket.MaxMessageFrames + 10).ToArray()).ShouldBeTrue();
        _dealer.TrySend([Utf8("fits")]).ShouldBeTrue();

        Await(_router);
        _router.TryReceive(out var none).ShouldBe(ZeroMqReceived.TooLarge);
        none.ShouldBeEmpty();
        Await(_router);
        _router.TryReceive(out _).ShouldBe(ZeroMqReceived.TooLarge);
        Encoding.UTF8.GetString(Receive(_router)[1].Span).ShouldBe("fits");
    }

    [Fact]
    public void As_many_frames_as_allowed_arrive()
    {
        var frames = Enumerable.Range(0, ZeroMqSocket.MaxMessageFrames - 1).Select(i => (ReadOnlyMemory<byte>)BitConverter.GetBytes(i)).ToArray();

        _dealer.TrySend(frames).ShouldBeTrue();

        var received = Receive(_router);
        received.Length.ShouldBe(ZeroMqSocket.MaxMessageFrames);
        BitConverter.ToInt32(received[^1].Span).ShouldBe(ZeroMqSocket.MaxMessageFrames - 2);
    }

    [Fact]
    public void A_lent_message_counts_until_it_has_left()
    {
        using var left = new ManualResetEventSlim();
        var inFlight = new HeldMessages(left.Set);

        _dealer.TrySend([Utf8("small"), new byte[100_000]], inFlight, 123).ShouldBeTrue();

        Receive(_router).Length.ShouldBe(3);
        left.Wait(s_limit).ShouldBeTrue();
        inFlight.Count.ShouldBe(0);
        inFlight.Bytes.ShouldBe(0);
    }

    [Fact]
    public void A_message_that_is_never_read_is_let_go_when_the_socket_closes()
    {
        var inFlight = new HeldMessages();
        using (var context = new ZeroMqContext())
        {
            using var alone = context.CreateSocket(ZeroMqSocketType.Dealer);
            alone.Set(ZeroMqOption.Linger, 0);
            alone.Connect("tcp://127.0.0.1:1");
            alone.TrySend([Utf8("x")], inFlight, 1).ShouldBeTrue();
            inFlight.Count.ShouldBe(1);
        }

        inFlight.Count.ShouldBe(0);
    }

    [Fact]
    public void A_full_socket_refuses_without_counting()
    {
        var inFlight = new HeldMessages();
        using var context = new ZeroMqContext();
        using var alone = context.CreateSocket(ZeroMqSocketType.Dealer);
        alone.Set(ZeroMqOption.Linger, 0);

        alone.TrySend([Utf8("x")], inFlight, 1).ShouldBeFalse();

        inFlight.Count.ShouldBe(0);
        inFlight.Bytes.ShouldBe(0);
    }

    [Fact]
    public void An_address_in_use_is_told_as_such()
    {
        using var second = _context.CreateSocket(ZeroMqSocketType.Router);

        var fault = Should.Throw<ZeroMqException>(() => second.Bind(_router.LastEndpoint));

        fault.Reason.ShouldBe(ZeroMqFault.AddressInUse);
        fault.Errno.ShouldNotBe(0);
        fault.Message.ShouldContain(_router.LastEndpoint);
    }

    [Theory]
    [InlineData("tcp://203.0.113.7:4000", ZeroMqFault.BadAddress)]
    [InlineData("tcp://nowhere.invalid:4000", ZeroMqFault.BadAddress)]
    [InlineData("ipc:///nonexistent/x", ZeroMqFault.Other)]
    public void An_address_that_is_not_ours_is_told_as_such(string endpoint, ZeroMqFault reason)
        => Should.Throw<ZeroMqException>(() => _router.Bind(endpoint)).Reason.ShouldBe(reason);

    [Fact]
    public void A_raised_signal_wakes_the_poller_once()
    {
        using var signal = new WakeSignal();
        var poller = new ZeroMqPoller();
        var index = poller.Add(signal.Descriptor);

        poller.Wait(0).ShouldBeFalse();
        signal.Raise();
        signal.Raise();
        poller.Wait(-1).ShouldBeTrue();
        poller.IsReady(index).ShouldBeTrue();
        signal.Clear();
        poller.Wait(0).ShouldBeFalse();
        signal.Raise();
        poller.Wait(-1).ShouldBeTrue();
    }

    [Fact]
    public void A_signal_raised_by_many_threads_is_never_lost()
    {
        const int Rounds = 20_000;
        using var signal = new WakeSignal();
        var said = 0;
        var threads = Enumerable.Range(0, 3).Select(_ => new Thread(() =>
        {
            for (var i = 0; i < Rounds; i++)
            {
                Interlocked.Increment(ref said);
                signal.Raise();
            }
        })).ToList();
        threads.ForEach(thread => thread.Start());
        var poller = new ZeroMqPoller();
        poller.Add(signal.Descriptor);

        // The last raise must be seen: were one lost, this would wait until the limit.
        while (Volatile.Read(ref said) < 3 * Rounds)
        {
            poller.Wait((int)s_limit.TotalMilliseconds).ShouldBeTrue();
            signal.Clear();
        }

        threads.ForEach(thread => thread.Join());
    }

    private static byte[] Utf8(string text) => Encoding.UTF8.GetBytes(text);

    private static void Await(ZeroMqSocket socket)
    {
        var poller = new ZeroMqPoller();
        poller.Add(socket);
        poller.Wait((int)s_limit.TotalMilliseconds).ShouldBeTrue();
    }

    private static ReadOnlyMemory<byte>[] Receive(ZeroMqSocket socket)
    {
        Await(socket);
        socket.TryReceive(out var frames).ShouldBe(ZeroMqReceived.Message);
        return frames;
    }

    private (ZeroMqSocket Router, ZeroMqSocket Dealer) Pair(long maxMessageBytes)
    {
        var router = _context.CreateSocket(ZeroMqSocketType.Router, maxMessageBytes);
        router.Set(ZeroMqOption.Linger, 0);
        router.Bind("tcp://127.0.0.1:*");
        var dealer = _context.CreateSocket(ZeroMqSocketType.Dealer);
        dealer.Set(ZeroMqOption.Linger, 0);
        dealer.Connect(router.LastEndpoint);
        return (router, dealer);
    }
}
