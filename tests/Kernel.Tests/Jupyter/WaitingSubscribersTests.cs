using InterpreterKernel.Kernel.Jupyter;
using InterpreterKernel.Protocol.Jupyter;

namespace InterpreterKernel.Kernel.Tests.Jupyter;

public sealed class WaitingSubscribersTests
{
    [Fact]
    public async Task A_client_that_has_read_everything_is_waiting_and_one_on_another_address_is_none_of_ours()
    {
        await using var mine = new SocketsFixture();
        await using var another = new SocketsFixture();
        var waiting = new WaitingSubscribers(mine.File);
        another.Subscriber();

        // Both have the same ports, at different addresses.
        waiting.Any(2).ShouldBeFalse();
        mine.Subscriber();

        waiting.Any(2).ShouldBeTrue();
        waiting.Any(1).ShouldBeFalse();
        new WaitingSubscribers(mine.File with { Ip = "*" }).Any(2).ShouldBeTrue();
    }

    [Fact]
    public async Task Clients_that_leave_bytes_unread_are_not_waiting()
    {
        await using var fixture = new SocketsFixture(options: new JupyterSocketsOptions { Linger = TimeSpan.Zero });
        fixture.Subscriber(receiveMark: 1);
        fixture.Subscriber(receiveMark: 1);
        for (var i = 0; i < 20_000; i++)
        {
            fixture.Sockets.Send(JupyterChannel.Iopub, SocketsFixture.Output(i, 2_000));
        }

        (await fixture.Sockets.FlushAsync(TimeSpan.FromSeconds(1))).ShouldBeFalse();

        new WaitingSubscribers(fixture.File).Any(2).ShouldBeFalse();
    }
}
