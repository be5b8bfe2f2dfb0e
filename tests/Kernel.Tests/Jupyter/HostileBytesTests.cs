using System.Net.Sockets;
using InterpreterKernel.Protocol.Jupyter;

namespace InterpreterKernel.Kernel.Tests.Jupyter;

/// <summary>Bytes that are no ZeroMQ, thrown at each port while a client is served.</summary>
[Collection(AloneCollection.Name)]
public sealed class HostileBytesTests
{
    private const int Megabyte = 1_000_000;

    [Theory]
    [InlineData(JupyterChannel.Shell)]
    [InlineData(JupyterChannel.Control)]
    [InlineData(JupyterChannel.Stdin)]
    [InlineData(JupyterChannel.Iopub)]
    [InlineData(JupyterChannel.Heartbeat)]
    public async Task A_hundred_megabytes_of_noise_disturb_nobody(JupyterChannel channel)
    {
        var noise = new byte[Megabyte];
        new Random(5).NextBytes(noise);

        await Throw(channel, noise, 100);
    }

    /// <summary>0x40 reads as an endless row of 63-byte messages of a ZMTP 1.0 peer, so all of it gets as far as our parser.</summary>
    [Theory]
    [InlineData(JupyterChannel.Shell)]
    [InlineData(JupyterChannel.Iopub)]
    [InlineData(JupyterChannel.Heartbeat)]
    public async Task Noise_that_looks_like_messages_disturbs_nobody(JupyterChannel channel)
    {
        var noise = new byte[Megabyte];
        Array.Fill(noise, (byte)0x40);

        await Throw(channel, noise, 30);
    }

    /// <summary>A frame that says it is 2^62 bytes long, and one that says 900 MB and does not come.</summary>
    [Theory]
    [InlineData(0x40)]
    [InlineData(0x00)]
    public async Task A_frame_that_promises_too_much_is_not_believed(byte first)
    {
        byte[] frame = [0x01, 0x00, 0xff, first, 0, 0, 0, 0x35, 0xa4, 0xe9, 0x00, 0x00, .. new byte[4_000]];
        var before = Environment.WorkingSet;

        await Throw(JupyterChannel.Shell, frame, 1);

        (Environment.WorkingSet - before).ShouldBeLessThan(400L * Megabyte);
    }

    private static async Task Throw(JupyterChannel channel, byte[] noise, int times)
    {
        await using var fixture = new SocketsFixture();
        var client = fixture.Subscriber();
        var before = Environment.WorkingSet;
        var throwing = Task.Run(async () =>
        {
            using var first = await ConnectAsync(fixture.File, channel);
            var connection = first;
            for (var i = 0; i < times; i++)
            {
                try
                {
                    await connection.SendAsync(noise);
                }
                catch (SocketException)
                {
                    // Refused, as it should be; the rest goes through a new connection.
                    connection.Dispose();
                    connection = await ConnectAsync(fixture.File, channel);
                }
            }

            connection.Dispose();
        });
        var asked = 0;
        do
        {
            client.Ask(JupyterChannel.Shell, JupyterTestClient.Message("x_request")).MessageType.ShouldBe("reply");
            client.Ask(JupyterChannel.Control, JupyterTestClient.Message("x_request")).MessageType.ShouldBe("reply");
            fixture.Sockets.Send(JupyterChannel.Iopub, SocketsFixture.Output(asked));
            client.Receive(JupyterChannel.Iopub);
            client.Socket(JupyterChannel.Heartbeat).TrySend([new byte[] { 1 }]).ShouldBeTrue();
            client.TryReceiveFrames(JupyterChannel.Heartbeat, JupyterTestClient.Limit).ShouldNotBeNull();
            asked++;
        }
        while (!throwing.IsCompleted);

        await throwing;
        fixture.Sockets.Completion.IsCompleted.ShouldBeFalse();
        (Environment.WorkingSet - before).ShouldBeLessThan(500L * Megabyte);
    }

    private static async Task<Socket> ConnectAsync(ConnectionFile file, JupyterChannel channel)
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        await socket.ConnectAsync(file.Ip, file.PortOf(channel));
        return socket;
    }
}
