namespace InterpreterKernel.Kernel.Remote;

/// <summary>
/// One connection to the relay: the stdin and stdout of an attach process. Reading and writing may go on at the same time, each
/// from one caller. Disposal ends it, also under a pending read or write.
/// </summary>
internal interface IRelayAttachment : IAsyncDisposable
{
    /// <summary>Whether something lies between the two ends that could change a byte.</summary>
    bool NeedsChecksums { get; }

    /// <summary>Reads the next bytes into <paramref name="buffer"/> and says how many; 0 at the end.</summary>
    ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken);

    /// <summary>Writes all of it and sends it at once. The memory may be used again when the task is done.</summary>
    ValueTask WriteAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken);
}
