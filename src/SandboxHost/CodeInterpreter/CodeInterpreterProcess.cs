using System.Text;
using InterpreterKernel.SandboxHost.Agent;
using InterpreterKernel.SandboxHost.Isolation;
using InterpreterKernel.SandboxHost.Native;
using InterpreterKernel.SandboxHost.Sandboxes;

namespace InterpreterKernel.SandboxHost.CodeInterpreter;

/// <summary>
/// The program behind port 49999 of one sandbox: started when first asked for, again when it has died. It is no process of
/// envd's, so clients do not see it in their lists.
/// </summary>
internal sealed class CodeInterpreterProcess(LocalSandbox sandbox)
{
    internal const int Port = 49999;

    private const int MaxText = 4096;

    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(20);

    private readonly Lock _gate = new();
    private Task<AgentChild>? _started;

    /// <summary>Returns when it listens.</summary>
    /// <exception cref="IOException">It can't be started; the message says what it said.</exception>
    /// <exception cref="AgentRefusedException">The sandbox can't start another process.</exception>
    internal async Task EnsureAsync(CancellationToken cancellation)
    {
        Task<AgentChild> started;
        lock (_gate)
        {
            var usable = _started is { IsFaulted: false, IsCanceled: false } && !(_started.IsCompletedSuccessfully && _started.Result.Exited.IsCompleted);
            started = usable ? _started! : _started = StartAsync();
        }

        // One start serves all who wait for it, so that none of them may cancel it.
        await started.WaitAsync(cancellation);
    }

    private async Task<AgentChild> StartAsync()
    {
        using var output = sandbox.Container.CreatePipe();
        using var reading = new PolledDescriptor(sandbox.Poller, output.TakeRead(), forWriting: false);
        var child = await sandbox.Container.Agent.StartAsync(
            LocalSandbox.Home,
            ["python3", "-B", TemplateBuilder.CodeInterpreterPath + "/" + CodeInterpreterSource.Main],
            sandbox.Environment([]),
            [output.Write, output.Write]);
        output.Write.Dispose();

        // Its first line says that it listens; all else is why it does not.
        var text = new byte[MaxText];
        var filled = 0;
        try
        {
            while (filled < text.Length && await reading.ReadAsync(text.AsMemory(filled)).AsTask().WaitAsync(s_patience) is > 0 and var count)
            {
                filled += count;
                if (text.AsSpan(0, filled).StartsWith("ready"u8))
                {
                    return child;
                }
            }
        }
        catch (TimeoutException)
        {
            await sandbox.Container.Agent.SignalAsync(child, LibC.SigKill);
            throw new IOException($"the code interpreter did not start within {s_patience.TotalSeconds:0} s");
        }

        throw new IOException("the code interpreter could not start: " + Encoding.UTF8.GetString(text, 0, filled).Trim());
    }
}
