using System.Buffers;
using System.Runtime.CompilerServices;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;

namespace InterpreterKernel.SandboxHost.Http;

/// <summary>
/// The blocks of memory in which Kestrel receives, sends and makes chunks. Its own have 4 KiB: a cell's 8 MiB buffer is then received in 2,048
/// calls, and its output leaves in as many chunks, each to be parsed by the client. These have 64 KiB, and a connection that is silent holds none.
/// </summary>
internal sealed class LargeBlocks : MemoryPool<byte>, IMemoryPoolFactory<byte>
{
    private const int BlockSize = 64 * 1024;

    private LargeBlocks()
    {
    }

    /// <summary>All there is: what they hold belongs to <see cref="ArrayPool{T}.Shared"/>.</summary>
    internal static LargeBlocks Instance { get; } = new();

    /// <inheritdoc/>
    public override int MaxBufferSize => Array.MaxLength;

    /// <summary>
    /// Has this transport use them. Kestrel offers the setting through its host builder alone, which this host does without; a version of it
    /// that has the setting elsewhere keeps its own blocks, and is only slower.
    /// </summary>
    internal static void Use(SocketTransportOptions options)
    {
        try
        {
            SetFactory(options, Instance);
        }
        catch (MissingMethodException)
        {
            return;
        }
    }

    /// <inheritdoc/>
    public MemoryPool<byte> Create(MemoryPoolOptions? options = null) => this;

    /// <inheritdoc/>
    public override IMemoryOwner<byte> Rent(int minBufferSize = -1) => new Block(ArrayPool<byte>.Shared.Rent(Math.Max(minBufferSize, BlockSize)));

    /// <summary>Nothing: transports dispose what they believe to be theirs.</summary>
    protected override void Dispose(bool disposing)
    {
    }

    [UnsafeAccessor(UnsafeAccessorKind.Method, Name = "set_MemoryPoolFactory")]
    private static extern void SetFactory(SocketTransportOptions options, IMemoryPoolFactory<byte> factory);

    private sealed class Block(byte[] array) : IMemoryOwner<byte>
    {
        private byte[]? _array = array;

        public Memory<byte> Memory => _array ?? throw new ObjectDisposedException(nameof(Block));

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _array, null) is { } given)
            {
                ArrayPool<byte>.Shared.Return(given);
            }
        }
    }
}
