using System.Text;
using InterpreterKernel.Kernel.Jupyter;
using InterpreterKernel.Protocol.Jupyter;
using InterpreterKernel.Protocol.ZeroMq;

namespace InterpreterKernel.Kernel.Tests.Jupyter;

public sealed class JupyterSocketsTests
{
    public static TheoryData<JupyterTransport, string, SignatureScheme, bool> Connections => new()
    {
        { JupyterTransport.Tcp, "key", SignatureScheme.HmacSha256, false },
        { JupyterTransport.Tcp, "key", SignatureScheme.HmacSha512, false },
        { JupyterTransport.Tcp, "", SignatureScheme.HmacSha256, false },
        { JupyterTransport.Tcp, "key", SignatureScheme.HmacSha256, true },
        { JupyterTransport.Ipc, "key", SignatureScheme.HmacSha384, false },
    };

    [Theory]
    [MemberData(nameof(Connections))]
    public async Task All_five_channels_work(JupyterTransport transport, string key, SignatureScheme scheme, bool encrypted)
    {
        await using var fixture = new SocketsFixture(transport, key, scheme, encrypted ? CurveKeyPair.Generate() : null);
        var client = fixture.Subscriber();
        var request = JupyterTestClient.Message("execute_request", """{"code":"1+1"}""");

        foreach (var channel in new[] { JupyterChannel.Shell, JupyterChannel.Control, JupyterChannel.Stdin })
        {
            var reply = client.Ask(channel, request);
            reply.ParentHeader.ToArray().ShouldBe(request.Header.ToArray());
            reply.Content.ToArray().ShouldBe(request.Content.ToArray());
        }

        fixture.Sockets.Send(JupyterChannel.Iopub, SocketsFixture.Output(1));
        var output = client.Receive(JupyterChannel.Iopub);
        Encoding.UTF8.GetString(output.Identities.Single().Span).ShouldBe("stream.stdout");
        output.MessageId.ShouldBe("1");

        client.Socket(JupyterChannel.Heartbeat).TrySend([Encoding.ASCII.GetBytes("ping")]).ShouldBeTrue();
        Encoding.ASCII.GetString(client.TryReceiveFrames(JupyterChannel.Heartbeat, JupyterTestClient.Limit)![0].Span).ShouldBe("ping");
    }

    [Fact]
    public async Task A_client_without_the_connection_s_curve_key_gets_nothing()
    {
        var pair = CurveKeyPair.Generate();
        await using var fixture = new SocketsFixture(curve: pair);
        using var stranger = new JupyterTestClient(fixture.File with { CurvePublicKey = null, CurveSecretKey = null });
        stranger.Send(JupyterChannel.Shell, JupyterTestClient.Message("execute_request"));

        fixture.Client().Ask(JupyterChannel.Shell, JupyterTestClient.Message("x_request")).MessageType.ShouldBe("reply");
        stranger.TryReceiveFrames(JupyterChannel.Shell, TimeSpan.FromMilliseconds(200)).ShouldBeNull();
    }

    [Fact]
    public async Task The_first_subscription_is_noticed()
    {
        await using var fixture = new SocketsFixture();
        fixture.Sockets.FirstSubscriber.IsCompleted.ShouldBeFalse();

        fixture.Client().Socket(JupyterChannel.Iopub);

        await fixture.Sockets.FirstSubscriber.WaitAsync(JupyterTestClient.Limit);
    }

    [Fact]
    public async Task A_large_message_with_buffers_comes_and_goes_unchanged()
    {
        await using var fixture = new SocketsFixture();
        var large = new byte[120_000_000];
        new Random(3).NextBytes(large);
        var plain = JupyterTestClient.Message("comm_msg");
        var request = new JupyterMessage { Header = plain.Header, Buffers = [new byte[] { 1 }, large, ReadOnlyMemory<byte>.Empty] };

        var reply = fixture.Client().Ask(JupyterChannel.Shell, request);

        reply.Buffers.Count.ShouldBe(3);
        reply.Buffers[0].Length.ShouldBe(1);
        reply.Buffers[1].Span.SequenceEqual(large).ShouldBeTrue();
        reply.Buffers[2].Length.ShouldBe(0);
    }

    [Fact]
    public async Task A_reconnecting_client_takes_its_identity_over()
    {
        await using var fixture = new SocketsFixture();
        fixture.Client("me").Ask(JupyterChannel.Shell, JupyterTestClient.Message("x_request", id: "first"));

        // The first connection still stands.
        var again = fixture.Client("me").Ask(JupyterChannel.Shell, JupyterTestClient.Message("x_request", id: "second"));

        again.ParentMessageId.ShouldBe("second");
    }

    [Fact]
    public async Task A_prompt_reaches_only_the_client_that_is_asked()
    {
        await using var fixture = new SocketsFixture();
        var asked = fixture.Client("asked");
        var other = fixture.Client("other");
        asked.Ask(JupyterChannel.Stdin, JupyterTestClient.Message("hello"));
        other.Ask(JupyterChannel.Stdin, JupyterTestClient.Message("hello"));

        fixture.Sockets.Send(JupyterChannel.Stdin, JupyterTestClient.Message("input_request").WithIdentities([Encoding.ASCII.GetBytes("asked")]));

        asked.Receive(JupyterChannel.Stdin).MessageType.ShouldBe("input_request");
        other.TryReceiveFrames(JupyterChannel.Stdin, TimeSpan.FromMilliseconds(100)).ShouldBeNull();
    }

    [Fact]
    public async Task Forged_and_malformed_messages_are_dropped_counted_and_told()
    {
        await using var fixture = new SocketsFixture();
        var seen = 0;
        fixture.OnMessage = (channel, request) =>
        {
            seen++;
            fixture.Sockets.Send(channel, SocketsFixture.ReplyTo(request));
        };
        var client = fixture.Client();
        var forger = fixture.Client(key: "other key");
        var request = JupyterTestClient.Message("execute_request");
        var good = MessageFraming.ToFrames(request, client.Signer.Sign(request));

        var shell = client.Socket(JupyterChannel.Shell);
        shell.TrySend(MessageFraming.ToFrames(request, forger.Signer.Sign(request))).ShouldBeTrue();
        shell.TrySend(MessageFraming.ToFrames(request, ReadOnlyMemory<byte>.Empty)).ShouldBeTrue();
        for (var count = 1; count < good.Length; count++)
        {
            shell.TrySend(good.AsSpan(0, count)).ShouldBeTrue();
        }

        var typeless = new JupyterMessage { Header = JupyterMessage.EmptyObject };
        client.Send(JupyterChannel.Shell, typeless);
        client.Ask(JupyterChannel.Shell, request).MessageType.ShouldBe("reply");

        seen.ShouldBe(1);
        fixture.Sockets.Counters.ShouldBe(new JupyterSocketsCounters(2, good.Length, 0, 0, 0));
        fixture.Log.ShouldContain(line => line.Contains("signature", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_handler_that_fails_does_not_end_the_service()
    {
        await using var fixture = new SocketsFixture();
        var answer = fixture.OnMessage;
        fixture.OnMessage = (_, _) => throw new InvalidOperationException("not this one");
        var client = fixture.Client();
        client.Send(JupyterChannel.Control, JupyterTestClient.Message("x_request"));
        client.Send(JupyterChannel.Shell, JupyterTestClient.Message("x_request"));
        await fixture.LoggedAsync("handling failed", 2);

        fixture.OnMessage = answer;
        client.Ask(JupyterChannel.Shell, JupyterTestClient.Message("y_request")).MessageType.ShouldBe("reply");
        fixture.Sockets.Counters.HandlerFaults.ShouldBe(2);
    }

    [Fact]
    public async Task The_heart_beats_while_a_handler_is_busy()
    {
        await using var fixture = new SocketsFixture();
        using var go = new ManualResetEventSlim();
        fixture.OnMessage = (_, _) => go.Wait(JupyterTestClient.Limit);
        var client = fixture.Client();
        client.Send(JupyterChannel.Shell, JupyterTestClient.Message("x_request"));

        for (var i = 0; i < 100; i++)
        {
            var ping = BitConverter.GetBytes(i);
            client.Socket(JupyterChannel.Heartbeat).TrySend([ping]).ShouldBeTrue();
            client.TryReceiveFrames(JupyterChannel.Heartbeat, JupyterTestClient.Limit)![0].ToArray().ShouldBe(ping);
        }

        go.Set();
    }

    [Fact]
    public async Task Control_passes_while_shell_is_flooded()
    {
        await using var fixture = new SocketsFixture();
        var answered = 0;
        fixture.OnMessage = (channel, request) =>
        {
            // Each shell request costs time; a thousand of them queue up before the control request.
            if (channel == JupyterChannel.Control)
            {
                fixture.Sockets.Send(channel, SocketsFixture.ReplyTo(request));
            }
            else
            {
                Thread.SpinWait(20_000);
                answered++;
            }
        };
        var client = fixture.Client();
        client.Ask(JupyterChannel.Control, JupyterTestClient.Message("warm_up"));
        for (var i = 0; i < 5_000; i++)
        {
            client.Send(JupyterChannel.Shell, JupyterTestClient.Message("x_request"));
        }

        client.Ask(JupyterChannel.Control, JupyterTestClient.Message("interrupt_request")).MessageType.ShouldBe("reply");

        Volatile.Read(ref answered).ShouldBeLessThan(5_000);
    }

    [Fact]
    public async Task A_port_in_use_is_named_and_the_others_are_let_go()
    {
        await using var fixture = new SocketsFixture();
        var file = fixture.File with { ShellPort = 21001, IopubPort = 21002, ControlPort = 21003, HeartbeatPort = 21005 };

        var fault = Should.Throw<JupyterBindException>(() => JupyterSockets.Bind(file, new JupyterSocketsOptions { BindPatience = TimeSpan.FromMilliseconds(100) }, (_, _) => { }));

        fault.Channel.ShouldBe(JupyterChannel.Stdin);
        fault.Reason.ShouldBe(ZeroMqFault.AddressInUse);
        fault.Message.ShouldContain(":20003");
        await using var second = JupyterSockets.Bind(file with { StdinPort = 21004 }, new JupyterSocketsOptions(), (_, _) => { });
    }

    [Fact]
    public async Task A_port_that_becomes_free_meanwhile_is_no_failure()
    {
        var holder = new SocketsFixture();
        var (file, freed) = (holder.File, Task.Run(async () =>
        {
            await Task.Delay(200); // so that it is taken at the first try; were it free already, this would show less, and not fail
            await holder.DisposeAsync();
        }));

        await using var sockets = JupyterSockets.Bind(file, new JupyterSocketsOptions { BindPatience = TimeSpan.FromSeconds(30) }, (_, _) => { });

        await freed;
    }

    [Theory]
    [InlineData("203.0.113.9", ZeroMqFault.BadAddress)]
    [InlineData("no such host", ZeroMqFault.BadAddress)]
    public async Task An_address_that_is_not_ours_is_refused(string ip, ZeroMqFault reason)
    {
        await using var fixture = new SocketsFixture();

        Should.Throw<JupyterBindException>(() => JupyterSockets.Bind(fixture.File with { Ip = ip }, new JupyterSocketsOptions(), (_, _) => { }))
            .Reason.ShouldBe(reason);
    }

    [Fact]
    public async Task Ipc_files_are_removed_and_the_same_connection_can_be_bound_again()
    {
        var fixture = new SocketsFixture(JupyterTransport.Ipc);
        fixture.IpcFiles.Length.ShouldBe(5);

        await fixture.Sockets.DisposeAsync();
        fixture.IpcFiles.ShouldBeEmpty();

        await using (JupyterSockets.Bind(fixture.File, new JupyterSocketsOptions(), (_, _) => { }))
        {
            fixture.IpcFiles.Length.ShouldBe(5);
        }

        await fixture.DisposeAsync();
    }

    [Fact]
    public async Task The_same_tcp_ports_can_be_bound_again_at_once()
    {
        await using var fixture = new SocketsFixture();
        fixture.Client().Ask(JupyterChannel.Shell, JupyterTestClient.Message("x_request"));
        await fixture.Sockets.DisposeAsync();

        await using var again = JupyterSockets.Bind(fixture.File, new JupyterSocketsOptions(), (_, _) => { });
    }

    [Fact]
    public async Task What_was_sent_last_arrives_although_the_sockets_close()
    {
        await using var fixture = new SocketsFixture();
        var client = fixture.Subscriber();
        Task? closing = null;
        fixture.OnMessage = (channel, request) =>
        {
            fixture.Sockets.Send(JupyterChannel.Iopub, SocketsFixture.Output(1, 1_000_000));
            fixture.Sockets.Send(channel, SocketsFixture.ReplyTo(request));
            closing = fixture.Sockets.DisposeAsync().AsTask();
        };

        client.Ask(JupyterChannel.Control, JupyterTestClient.Message("shutdown_request")).MessageType.ShouldBe("reply");
        client.Receive(JupyterChannel.Iopub).Content.Length.ShouldBeGreaterThan(1_000_000);
        await closing!;
    }

    [Fact]
    public async Task Flushing_waits_until_all_has_left()
    {
        await using var fixture = new SocketsFixture();
        var client = fixture.Subscriber();
        for (var i = 0; i < 1_000; i++)
        {
            fixture.Sockets.Send(JupyterChannel.Iopub, SocketsFixture.Output(i, 100));
        }

        (await fixture.Sockets.FlushAsync(JupyterTestClient.Limit)).ShouldBeTrue();

        for (var i = 0; i < 1_000; i++)
        {
            client.Receive(JupyterChannel.Iopub).MessageId.ShouldBe(i.ToString(System.Globalization.CultureInfo.InvariantCulture));
        }
    }
}
