using System.Net.Sockets;
using InterpreterKernel.Sandbox;

namespace InterpreterKernel.Kernel.Remote;

/// <summary>
/// An attach process on this machine, whose standard input listens for us: what goes to the relay and comes from it passes through
/// no other process. The stream of its output still tells what it says on stderr, and how it ended.
/// </summary>
internal sealed class DirectAttachment : IRelayAttachment
{
    // What the system holds for us on the way; by default a fifth of it, so that two processes take turns. It gives what it allows.
    private const int OnTheWay = 1024 * 1024;

    private readonly SandboxProcess _process;
    private readonly AttachWords _words;
    private readonly Socket _socket;
    private readonly Task _watching;

    private DirectAttachment(SandboxProcess process, Socket socket, AttachWords words)
    {
        _process = process;
        _socket = socket;
        _words = words;
        _watching = WatchAsync();
    }

    /// <summary>Connects to a process that listens.</summary>
    public static async Task<IRelayAttachment> OpenAsync(SandboxProcess process, string path, AttachWords words, CancellationToken cancellationToken)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { SendBufferSize = OnTheWay };
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), cancellationToken).ConfigureAwait(false);
            return new DirectAttachment(process, socket, words);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public bool NeedsChecksums => false;

    /// <inheritdoc/>
    public async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken)
    {
        // Cancelled by disposal only: giving up a read in the middle would lose what it brings.
        try
        {
            var count = await _socket.ReceiveAsync(buffer, SocketFlags.None, CancellationToken.None).ConfigureAwait(false);
            if (count > 0)
            {
                return count;
            }
        }
        catch (SocketException e) when (e.SocketErrorCode == SocketError.ConnectionReset)
        {
            _words.Log("the attach process closed its connection without reading all of it");
        }

        // The process has nothing to do any more and ends, or never could start.
        await _watching.WaitAsync(cancellationToken).ConfigureAwait(false);
        _words.ThrowIfNoPython(_process.Result);
        return 0;
    }

    /// <inheritdoc/>
    public async ValueTask WriteAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        while (!bytes.IsEmpty)
        {
            bytes = bytes[await _socket.SendAsync(bytes, SocketFlags.None, cancellationToken).ConfigureAwait(false)..];
        }
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        // What was written is out, and the relay needs no farewell: it sees its connection end.
        _socket.Dispose();
        await _process.DisposeAsync().ConfigureAwait(false);
        await _watching.ConfigureAwait(false);
    }

    private async Task WatchAsync()
    {
        try
        {
            await foreach (var output in _process.ReadAsync().ConfigureAwait(false))
            {
                _words.Hear(output);
            }
        }
        catch (Exception e) when (e is SandboxException or ObjectDisposedException)
        {
            // The connection to the relay is another, and says itself when it is over.
            _words.Log("the attach process is no longer watched: " + e.Message);
        }
    }
}
