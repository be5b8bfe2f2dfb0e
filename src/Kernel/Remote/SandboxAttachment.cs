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

    /// <summary>Starts an attach process.</summary>
    /// <param name="sandbox">Where.</param>
    /// <param name="attach">Its command.</param>
    /// <param name="program">What it reads before the link begins: the relay, where it is not there yet.</param>
    /// <param name="log">Takes what it writes to its stderr.</param>
    /// <param name="cancellationToken">Gives it up.</param>
    public static async Task<IRelayAttachment> StartAsync(
        Sandbox.Sandbox sandbox, ProcessStart attach, ReadOnlyMemory<byte> program, Action<string> log, CancellationToken cancellationToken)
    {
        var process = await sandbox.Commands.StartAsync(attach, cancellationToken).ConfigureAwait(false);
        return await OpenAsync(process, program, log, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Takes an attach process that was started ahead.</summary>
    public static async Task<IRelayAttachment> ConnectAsync(Sandbox.Sandbox sandbox, uint pid, Action<string> log, CancellationToken cancellationToken)
    {
        var process = await sandbox.Commands.ConnectAsync(pid, cancellationToken).ConfigureAwait(false);
        return await OpenAsync(process, default, log, cancellationToken).ConfigureAwait(false);
    }

    private static async Task<IRelayAttachment> OpenAsync(
        SandboxProcess process, ReadOnlyMemory<byte> program, Action<string> log, CancellationToken cancellationToken)
    {
        var words = new AttachWords(log);
        IRelayAttachment? attachment = null;
        try
        {
            attachment = process.Socket is { } path
                ? await DirectAttachment.OpenAsync(process, path, words, cancellationToken).ConfigureAwait(false)
                : new SandboxAttachment(process, await process.OpenInputAsync(cancellationToken).ConfigureAwait(false), words);
            if (!program.IsEmpty)
            {
                await attachment.WriteAsync(program, cancellationToken).ConfigureAwait(false);
            }

            return attachment;
        }
        catch
        {
            await (attachment ?? (IAsyncDisposable)process).DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

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
