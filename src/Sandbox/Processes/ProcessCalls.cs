using Google.Protobuf;
using InterpreterKernel.Protocol.Envd;

namespace InterpreterKernel.Sandbox.Processes;

/// <summary>The unary calls of the process service. Processes are always named by pid: looking up by tag is broken in envd.</summary>
internal static class ProcessCalls
{
    public const string Service = "process.Process/";

    /// <summary>The daemon reads a message whole before it writes to the pipe, so large input goes in pieces.</summary>
    private const int InputPiece = 64 * 1024;

    public static ProcessSelector Selector(uint pid) => new() { Pid = pid };

    public static ProcessInput Input(ReadOnlyMemory<byte> data, bool terminal)
    {
        var bytes = UnsafeByteOperations.UnsafeWrap(data);
        return terminal ? new ProcessInput { Pty = bytes } : new ProcessInput { Stdin = bytes };
    }

    public static async Task SendInputAsync(EnvdClient envd, uint pid, ReadOnlyMemory<byte> data, bool terminal, CancellationToken ct)
    {
        // One after the other: separate calls may overtake each other.
        for (var at = 0; at < data.Length; at += InputPiece)
        {
            var piece = data.Slice(at, Math.Min(InputPiece, data.Length - at));
            var request = new SendInputRequest { Process = Selector(pid), Input = Input(piece, terminal) };
            await envd.CallAsync(Service + "SendInput", request, SendInputResponse.Parser, $"Sending input to process {pid}", ct);
        }
    }

    public static Task CloseStdinAsync(EnvdClient envd, uint pid, CancellationToken ct) =>
        envd.CallAsync(
            Service + "CloseStdin", new CloseStdinRequest { Process = Selector(pid) }, CloseStdinResponse.Parser, $"Closing the input of process {pid}", ct);

    public static async Task<bool> SendSignalAsync(EnvdClient envd, uint pid, ProcessSignal signal, CancellationToken ct)
    {
        var request = new SendSignalRequest
        {
            Process = Selector(pid),
            Signal = signal == ProcessSignal.Kill ? Signal.Sigkill : Signal.Sigterm,
        };
        try
        {
            await envd.CallAsync(Service + "SendSignal", request, SendSignalResponse.Parser, $"Sending a signal to process {pid}", ct);
            return true;
        }
        catch (SandboxException e) when (e.Reason == SandboxFault.NotFound)
        {
            return false;
        }
    }

    public static Task ResizeAsync(EnvdClient envd, uint pid, TerminalSize size, CancellationToken ct) =>
        envd.CallAsync(
            Service + "Update",
            new UpdateRequest { Process = Selector(pid), Pty = Terminal(size) },
            UpdateResponse.Parser,
            $"Resizing the terminal of process {pid}",
            ct);

    public static PTY Terminal(TerminalSize size) => new()
    {
        Size = new PTY.Types.Size { Cols = (uint)Math.Clamp(size.Columns, 1, 65535), Rows = (uint)Math.Clamp(size.Rows, 1, 65535) },
    };

    public static async Task<IReadOnlyList<ProcessDescription>> ListAsync(EnvdClient envd, CancellationToken ct)
    {
        var answer = await envd.CallAsync(Service + "List", new ListRequest(), ListResponse.Parser, "Listing processes", ct);
        return [.. answer.Processes.Select(p => ProcessTree.Unwrap(new ProcessDescription(p.Pid, p.Config?.Cmd ?? "", [.. p.Config?.Args ?? []])
        {
            Envs = p.Config is null ? new Dictionary<string, string>() : new Dictionary<string, string>(p.Config.Envs),
            Cwd = p.Config is { HasCwd: true } ? p.Config.Cwd : null,
            Tag = p.HasTag ? p.Tag : null,
        }))];
    }
}
