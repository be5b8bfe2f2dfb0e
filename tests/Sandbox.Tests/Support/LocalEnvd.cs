using System.Collections.Concurrent;
using System.Diagnostics;
using InterpreterKernel.Protocol.Envd;
using Microsoft.AspNetCore.Http;
using Process = System.Diagnostics.Process;

namespace InterpreterKernel.Sandbox.Tests.Support;

/// <summary>
/// envd's process service over real processes of this machine, as bare as envd is: a signal reaches one pid, and the end
/// comes when all holders of the pipes have closed them, or right after a signal.
/// </summary>
internal sealed class LocalEnvd : IAsyncDisposable
{
    private readonly ConcurrentDictionary<uint, (Process Process, TaskCompletionSource Signalled)> _processes = new();
    private readonly FakeService _service;

    private LocalEnvd(FakeService service)
    {
        _service = service;
        service.On("POST /process.Process/Start", StartAsync)
            .On("POST /process.Process/SendSignal", SignalAsync)
            .On("POST /process.Process/List", ListAsync);
    }

    public FakeService Service => _service;

    public IEnumerable<uint> Pids => _processes.Keys;

    /// <summary>All that was asked to be started.</summary>
    public ConcurrentQueue<StartRequest> Starts { get; } = new();

    public static async Task<LocalEnvd> StartAsync() => new(await FakeService.StartAsync(unixSocket: true));

    public async ValueTask DisposeAsync()
    {
        foreach (var (process, _) in _processes.Values)
        {
            if (!process.HasExited)
            {
                process.Kill(entireProcessTree: true);
            }

            process.Dispose();
        }

        await _service.DisposeAsync();
    }

    private async Task StartAsync(HttpContext context)
    {
        var request = context.Message(StartRequest.Parser);
        Starts.Enqueue(request);
        var info = new ProcessStartInfo(request.Process.Cmd, request.Process.Args)
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            RedirectStandardInput = true,
            WorkingDirectory = request.Process.HasCwd ? request.Process.Cwd : "/",
        };
        // A login shell would read the profile of whoever runs the tests, and that may do anything.
        info.Environment["HOME"] = "/nonexistent";
        foreach (var (name, value) in request.Process.Envs)
        {
            info.Environment[name] = value;
        }

        var process = Process.Start(info)!;
        process.StandardInput.Close();
        var signalled = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        _processes[(uint)process.Id] = (process, signalled);
        using var turn = new SemaphoreSlim(1);
        await context.StreamAsync(Wire.Start((uint)process.Id));
        var pipes = Task.WhenAll(
            PumpAsync(context, process.StandardOutput.BaseStream, turn, b => Wire.Stdout(b)),
            PumpAsync(context, process.StandardError.BaseStream, turn, b => Wire.Stderr(b)));
        try
        {
            await Task.WhenAny(pipes, signalled.Task);
            await process.WaitForExitAsync(context.RequestAborted);
            await context.StreamAsync(Wire.Ended(process.ExitCode), Wire.EndOfStream);
        }
        catch (Exception e) when (e is OperationCanceledException or IOException)
        {
            return; // the client left; the process runs on
        }
    }

    private static async Task PumpAsync(HttpContext context, Stream from, SemaphoreSlim turn, Func<byte[], byte[]> wrap)
    {
        var buffer = new byte[32 * 1024];
        try
        {
            int read;
            while ((read = await from.ReadAsync(buffer, context.RequestAborted)) > 0)
            {
                await turn.WaitAsync(context.RequestAborted);
                await context.StreamAsync(wrap(buffer[..read]));
                turn.Release();
            }
        }
        catch (Exception e) when (e is OperationCanceledException or IOException or ObjectDisposedException)
        {
            return; // the client left
        }
    }

    private async Task SignalAsync(HttpContext context)
    {
        var request = SendSignalRequest.Parser.ParseFrom((byte[])context.Items["body"]!);
        context.Response.ContentType = "application/proto";
        if (!_processes.TryGetValue(request.Process.Pid, out var known) || known.Process.HasExited)
        {
            context.Response.StatusCode = 404;
            await context.Response.WriteAsync("""{"code":"not_found","message":"no such process"}""");
            return;
        }

        known.Process.Kill();
        known.Signalled.TrySetResult();
    }

    private async Task ListAsync(HttpContext context)
    {
        var list = new ListResponse();
        foreach (var start in Starts)
        {
            list.Processes.Add(new ProcessInfo { Pid = 1, Config = start.Process });
        }

        context.Response.ContentType = "application/proto";
        await context.Response.Body.WriteAsync(Google.Protobuf.MessageExtensions.ToByteArray(list));
    }
}
