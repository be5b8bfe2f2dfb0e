namespace InterpreterKernel.Kernel.Remote;

/// <summary>
/// One connection to the relay: the stdin and stdout of an attach process. Reading and writing may go on at the same time, each
/// from one caller. Disposal ends it, also under a pending read or write.
/// </summary>
internal interface IRelayAttachment : IAsyncDisposable
{
    /// <summary>The next bytes, valid until the next call; empty at the end.</summary>
    ValueTask<ReadOnlyMemory<byte>> ReadAsync(CancellationToken cancellationToken);

    /// <summary>Writes all of it and sends it at once. The memory may be used again when the task is done.</summary>
    ValueTask WriteAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken);
}
