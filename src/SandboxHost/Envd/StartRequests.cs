using System.Text;
using InterpreterKernel.Protocol.Connect;
using InterpreterKernel.Protocol.Envd;
using InterpreterKernel.SandboxHost.Agent;
using InterpreterKernel.SandboxHost.Sandboxes;

namespace InterpreterKernel.SandboxHost.Envd;

/// <summary>Checks what a client wants started, and starts it; each refusal has envd's code and words.</summary>
internal static class StartRequests
{
    // The kernel's MAX_ARG_STRLEN (32 pages), with the closing zero; and what arguments and environment may take together.
    private const int MaxString = (128 * 1024) - 1;
    private const int MaxTotal = (2 * 1024 * 1024) - 4096;

    internal static async Task<(LocalProcess Process, Subscription Subscription)> StartAsync(LocalSandbox sandbox, StartRequest request, string? user, bool listen)
    {
        var config = request.Process ?? new ProcessConfig();
        Check(config, user);
        try
        {
            return await sandbox.StartAsync(
                config.Cmd,
                config.Args,
                config.Envs,
                config.HasCwd && config.Cwd.Length > 0 ? config.Cwd : null,
                !request.HasStdin || request.Stdin,
                request.HasTag ? request.Tag : null,
                request.Pty is null ? null : Size(request.Pty),
                listen);
        }
        catch (AgentRefusedException e)
        {
            var code = e.Kind == "fork" ? ConnectCode.ResourceExhausted : ConnectCode.InvalidArgument;
            throw new ConnectException(code, e.Kind == "fork" ? $"fork/exec {config.Cmd}: {e.Message}" : e.Message);
        }
    }

    /// <summary>What is left out is 0, as envd passes it on.</summary>
    internal static TerminalSize Size(PTY terminal) => new(terminal.Size?.Rows ?? 0, terminal.Size?.Cols ?? 0);

    private static void Check(ProcessConfig config, string? user)
    {
        CallHeaders.RefuseStrangers(user);
        var total = 0;
        foreach (var text in config.Args.Append(config.Cmd).Append(config.Cwd).Concat(config.Envs.Select(e => e.Key + "=" + e.Value)))
        {
            var size = Encoding.UTF8.GetByteCount(text) + 1;
            total += size + 8;
            if (text.Contains('\0'))
            {
                throw new ConnectException(ConnectCode.InvalidArgument, "fork/exec: invalid argument: a string holds a zero byte");
            }

            if (size > MaxString || total > MaxTotal)
            {
                throw new ConnectException(ConnectCode.InvalidArgument, "fork/exec: argument list too long");
            }
        }

        if (config.Envs.Keys.Any(name => name.Length == 0 || name.Contains('=')))
        {
            throw new ConnectException(ConnectCode.InvalidArgument, "an environment variable has a name that none can have");
        }
    }
}
