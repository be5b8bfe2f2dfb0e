using InterpreterKernel.Sandbox;

namespace InterpreterKernel.Kernel.Remote;

/// <summary>
/// One attach process of the relay, started through envd: its stdout is read from the Start stream, its stdin written by one
/// open StreamInput request. The process is dead weight once both are closed; the daemon then tells it to go.
/// </summary>
internal sealed class SandboxAttachment : IRelayAttachment
{
    private readonly SandboxProcess _process;
    private readonly InputStream _input;
    private readonly IAsyncEnumerator<ProcessOutput> _output;
    private readonly Action<string> _log;

    private SandboxAttachment(SandboxProcess process, InputStream input, Action<string> log)
    {
        _process = process;
        _input = input;
        _output = process.ReadAsync(CancellationToken.None).GetAsyncEnumerator(CancellationToken.None);
        _log = log;
    }

    /// <summary>Starts an attach process.</summary>
    public static async Task<IRelayAttachment> StartAsync(Sandbox.Sandbox sandbox, ProcessStart attach, Action<string> log, CancellationToken cancellationToken)
    {
        var process = await sandbox.Commands.StartAsync(attach, cancellationToken).ConfigureAwait(false);
        try
        {
            return new SandboxAttachment(process, await process.OpenInputAsync(cancellationToken).ConfigureAwait(false), log);
        }
        catch
        {
            await process.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <inheritdoc/>
    public async ValueTask<ReadOnlyMemory<byte>> ReadAsync(CancellationToken cancellationToken)
    {
        // Cancelled by disposal only: giving up a read in the middle would lose what it brings.
        while (await _output.MoveNextAsync().ConfigureAwait(false))
        {
            switch (_output.Current)
            {
                case ProcessOutput.Stdout(var bytes):
                    return bytes;
                case ProcessOutput.Stderr(var bytes):
                    _log("relay: " + System.Text.Encoding.UTF8.GetString(bytes.Span).TrimEnd());
                    break;
            }
        }

        return ReadOnlyMemory<byte>.Empty;
    }

    /// <inheritdoc/>
    public ValueTask WriteAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken) => _input.WriteAsync(bytes, cancellationToken);

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _process.DisposeAsync().ConfigureAwait(false);
        await _input.DisposeAsync().ConfigureAwait(false);
    }
}
