using InterpreterKernel.Broker;
using InterpreterKernel.Sandbox;

namespace InterpreterKernel.Kernel.Remote;

/// <summary>Makes the broker's spares ready: the relay in a sandbox that nobody has claimed yet, and a kernel that waits in it.</summary>
internal static class SpareKernels
{
    /// <summary>What the broker needs to keep spares for kernels of this version.</summary>
    public static SpareOptions Options => new()
    {
        Relay = RelayFile.Current.Hash,
        PrepareAsync = (sandbox, kernel, cancellationToken) => PrepareAsync(RelayFile.Current, sandbox, kernel, cancellationToken),
    };

    private static async Task<uint> PrepareAsync(RelayFile relay, Sandbox.Sandbox sandbox, string kernel, CancellationToken cancellationToken)
    {
        await sandbox.Files.WriteAsync(relay.Path, relay.Content, null, cancellationToken).ConfigureAwait(false);
        var process = await sandbox.Commands.StartAsync(relay.Serve(kernel), cancellationToken).ConfigureAwait(false);
        await using var ownership = process.ConfigureAwait(false);
        await foreach (var output in process.ReadAsync(cancellationToken).ConfigureAwait(false))
        {
            // It says its process id, which is of no use here; reading to the end is waiting for it.
            _ = output;
        }

        if (process.Result is not { ExitCode: 0 })
        {
            throw new SandboxException(SandboxFault.CommandFailed, $"the kernel '{kernel}' did not start in it (exit code {process.Result?.ExitCode})");
        }

        // Starting it takes longer than all that is left to do then; it waits for the holder's first word, connected to nobody.
        var attachment = await sandbox.Commands.StartAsync(relay.Attach with { Listen = true }, cancellationToken).ConfigureAwait(false);
        await attachment.DisposeAsync().ConfigureAwait(false);
        return attachment.Pid;
    }
}
