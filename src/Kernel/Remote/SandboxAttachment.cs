using InterpreterKernel.Sandbox;

namespace InterpreterKernel.Kernel.Remote;

/// <summary>
/// One attach process of the relay, started through envd: its stdout is read from the Start stream, its stdin written by one
/// open StreamInput request. The process is dead weight once both are closed; the daemon then tells it to go. Where the process
/// listens for us, <see cref="DirectAttachment"/> takes its place.
/// </summary>
internal sealed class SandboxAttachment : IRelayAttachment
{
    private readonly SandboxProcess _process;
    private readonly InputStream _input;
    private readonly IAsyncEnumerator<ProcessOutput> _output;
    private readonly AttachWords _words;
    private ReadOnlyMemory<byte> _rest;

    private SandboxAttachment(SandboxProcess process, InputStream input, AttachWords words)
    {
        _process = process;
        _input = input;
        _output = process.ReadAsync(CancellationToken.None).GetAsyncEnumerator(CancellationToken.None);
        _words = words;
    }

    /// <summary>Opens its input.</summary>
    public static async Task<IRelayAttachment> OpenAsync(SandboxProcess process, AttachWords words, CancellationToken cancellationToken) =>
        new SandboxAttachment(process, await process.OpenInputAsync(cancellationToken).ConfigureAwait(false), words);

    /// <inheritdoc/>
    public bool NeedsChecksums => true;

    /// <inheritdoc/>
    public async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken)
    {
        // Cancelled by disposal only: giving up a read in the middle would lose what it brings.
        while (_rest.IsEmpty)
        {
            if (!await _output.MoveNextAsync().ConfigureAwait(false))
            {
                _words.ThrowIfNoPython(_process.Result);
                return 0;
            }

            if (_output.Current is ProcessOutput.Stdout(var bytes))
            {
                _rest = bytes;
            }
            else
            {
                _words.Hear(_output.Current);
            }
        }

        var count = Math.Min(_rest.Length, buffer.Length);
        _rest[..count].CopyTo(buffer);
        _rest = _rest[count..];
        return count;
    }

    /// <inheritdoc/>
    public ValueTask WriteAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken) => _input.WriteAsync(bytes, cancellationToken);

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        // What was written is out, and the relay needs no farewell: it sees its connection end.
        _input.Abort();
        await _process.DisposeAsync().ConfigureAwait(false);
        await _input.DisposeAsync().ConfigureAwait(false);
    }
}
