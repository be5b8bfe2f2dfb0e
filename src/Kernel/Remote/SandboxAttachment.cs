using System.Text;
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
    private string _lastWords = "";

    private SandboxAttachment(SandboxProcess process, InputStream input, Action<string> log)
    {
        _process = process;
        _input = input;
        _output = process.ReadAsync(CancellationToken.None).GetAsyncEnumerator(CancellationToken.None);
        _log = log;
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
        InputStream? input = null;
        try
        {
            input = await process.OpenInputAsync(cancellationToken).ConfigureAwait(false);
            await input.WriteAsync(program, cancellationToken).ConfigureAwait(false);
            return new SandboxAttachment(process, input, log);
        }
        catch
        {
            input?.Abort();
            await process.DisposeAsync().ConfigureAwait(false);
            if (input is not null)
            {
                await input.DisposeAsync().ConfigureAwait(false);
            }

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
                    _lastWords = Encoding.UTF8.GetString(bytes.Span).TrimEnd();
                    _log("relay: " + _lastWords);
                    break;
            }
        }

        // What a shell, and so envd, says for a program that is not there or can't be executed.
        return _process.Result is { ExitCode: 126 or 127 }
            ? throw new SandboxException(SandboxFault.CommandFailed, $"The relay can't be started in the sandbox, because there is no usable python3 ({_lastWords}). Use a template that has it, such as code-interpreter-v1 (setting template).")
            : ReadOnlyMemory<byte>.Empty;
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
