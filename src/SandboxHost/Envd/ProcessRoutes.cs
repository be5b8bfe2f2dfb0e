using System.Runtime.CompilerServices;
using Google.Protobuf;
using InterpreterKernel.Protocol.Connect;
using InterpreterKernel.Protocol.Envd;
using InterpreterKernel.SandboxHost.Http;
using InterpreterKernel.SandboxHost.Sandboxes;
using Microsoft.AspNetCore.Http;

namespace InterpreterKernel.SandboxHost.Envd;

/// <summary>
/// envd's process service (e2b-wire.md sections 4.6 and 4.7). Each method reads its request, does one thing, and
/// answers; failures travel as <see cref="ConnectException"/> and are put into the right form in one place.
/// </summary>
internal sealed class ProcessRoutes(TimeProvider time)
{
    internal const string Prefix = "/process.Process/";

    private const int MaxUnflushed = 128 * 1024;

    internal Task HandleAsync(HttpContext context, LocalSandbox sandbox, string method) => method switch
    {
        "Start" => ConnectCalls.StreamAsync(context, (body, stream) => StartAsync(context, sandbox, body, stream)),
        "Connect" => ConnectCalls.StreamAsync(context, (body, stream) => ConnectAsync(context, sandbox, body, stream)),
        "StreamInput" => ConnectCalls.StreamAsync(context, (body, stream) => StreamInputAsync(context, sandbox, body, stream)),
        "List" => ConnectCalls.UnaryAsync(context, ListRequest.Parser, _ => Task.FromResult<IMessage>(List(sandbox))),
        "SendInput" => ConnectCalls.UnaryAsync(context, SendInputRequest.Parser, async request =>
        {
            await InputAsync(Select(sandbox, request.Process), request.Input);
            return new SendInputResponse();
        }),
        "SendSignal" => ConnectCalls.UnaryAsync(context, SendSignalRequest.Parser, async request =>
        {
            await SignalAsync(Select(sandbox, request.Process), request.Signal);
            return new SendSignalResponse();
        }),
        "CloseStdin" => ConnectCalls.UnaryAsync(context, CloseStdinRequest.Parser, async request =>
        {
            var process = Select(sandbox, request.Process);
            if (process.Request.Terminal is not null)
            {
                throw new ConnectException(ConnectCode.Unknown, "error closing stdin: tty assigned to process, send the end-of-file character (4) instead");
            }

            await process.CloseInputAsync();
            return new CloseStdinResponse();
        }),
        "Update" => ConnectCalls.UnaryAsync(context, UpdateRequest.Parser, async request =>
        {
            await ResizeAsync(Select(sandbox, request.Process), request.Pty);
            return new UpdateResponse();
        }),
        _ => ConnectCalls.NotFoundAsync(context),
    };

    private async Task StartAsync(HttpContext context, LocalSandbox sandbox, ConnectRequestBody body, EventStream stream)
    {
        var timeout = CallHeaders.Timeout(context.Request.Headers);
        var request = await body.ReadEnvelopeAsync(StartRequest.Parser, context.RequestAborted)
            ?? throw new ConnectException(ConnectCode.InvalidArgument, "the request has no message");
        var listen = context.CameOverOwnSocket() && context.Request.Headers.ContainsKey(CallHeaders.Socket);
        var (process, subscription) = await StartRequests.StartAsync(sandbox, request, CallHeaders.User(context.Request.Headers), listen);
        using (subscription)
        {
            if (timeout == TimeSpan.Zero)
            {
                // envd's trap, kept: the stream has failed already, yet the process runs, and without a limit.
                throw DeadlineExceeded();
            }

            var expired = new StrongBox<bool>();
            if (timeout is { } limit)
            {
                _ = KillAfterAsync(process, limit, expired, sandbox.Gone);
            }

            await FollowAsync(context, process, subscription, stream, timeout, expired);
        }
    }

    private async Task ConnectAsync(HttpContext context, LocalSandbox sandbox, ConnectRequestBody body, EventStream stream)
    {
        var timeout = CallHeaders.Timeout(context.Request.Headers);
        var request = await body.ReadEnvelopeAsync(ConnectRequest.Parser, context.RequestAborted)
            ?? throw new ConnectException(ConnectCode.InvalidArgument, "the request has no message");
        var process = Select(sandbox, request.Process);
        using var subscription = process.Subscribe();
        await FollowAsync(context, process, subscription, stream, timeout, new StrongBox<bool>());
    }

    /// <summary>Start event, then output as it comes with keepalives in the silence, then the end event.</summary>
    private async Task FollowAsync(
        HttpContext context, LocalProcess process, Subscription subscription, EventStream stream, TimeSpan? timeout, StrongBox<bool> expired)
    {
        var silence = CallHeaders.KeepAlive(context.Request.Headers);
        using var deadline = timeout is { } limit ? new CancellationTokenSource(limit, time) : new CancellationTokenSource();
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, deadline.Token);
        if (process.SocketPath is { } path && context.CameOverOwnSocket())
        {
            context.Response.Headers[CallHeaders.Socket] = path;
        }

        try
        {
            await stream.BeginAsync(stop.Token);
            stream.WriteStart(process.Pid);
            await stream.FlushAsync(stop.Token);
            while (await WaitAsync(subscription, stream, silence, stop.Token))
            {
                // What has gathered meanwhile goes out in one go, within bounds: a fast writer may fill as fast as we drain.
                var gathered = 0;
                while (gathered < MaxUnflushed && subscription.Reader.TryRead(out var output))
                {
                    stream.WriteData(output);
                    gathered += output.Length;
                    output.Release();
                }

                await stream.FlushAsync(stop.Token);
            }

            if (Volatile.Read(ref expired.Value))
            {
                // The deadline killed it a moment before the stream's own clock ran out.
                throw DeadlineExceeded();
            }

            // Without an end its sandbox died under it, and the stream is cut off as by a kill, not ended as if all were well.
            stream.WriteEnd(process.End ?? throw new OperationCanceledException("the sandbox is gone"));
        }
        catch (OperationCanceledException) when (deadline.IsCancellationRequested && !context.RequestAborted.IsCancellationRequested)
        {
            throw DeadlineExceeded();
        }
    }

    /// <summary>Waits for output; false when there will be no more.</summary>
    private async Task<bool> WaitAsync(Subscription subscription, EventStream stream, TimeSpan silence, CancellationToken stop)
    {
        var pending = subscription.Reader.WaitToReadAsync(CancellationToken.None);
        if (pending.IsCompletedSuccessfully)
        {
            return pending.Result;
        }

        var more = pending.AsTask();
        while (true)
        {
            try
            {
                return await more.WaitAsync(silence, time, stop);
            }
            catch (TimeoutException)
            {
                stream.WriteKeepAlive();
                await stream.FlushAsync(stop);
            }
        }
    }

    /// <summary>One request held open, each envelope written to standard input as it comes. The first names the process.</summary>
    private static async Task StreamInputAsync(HttpContext context, LocalSandbox sandbox, ConnectRequestBody body, EventStream stream)
    {
        LocalProcess? process = null;
        while (await body.ReadEnvelopeAsync(StreamInputRequest.Parser, context.RequestAborted) is { } message)
        {
            switch (message.EventCase)
            {
                case StreamInputRequest.EventOneofCase.Start:
                    process = Select(sandbox, message.Start.Process);
                    break;
                case StreamInputRequest.EventOneofCase.Data when process is not null:
                    await InputAsync(process, message.Data.Input);
                    break;
                case StreamInputRequest.EventOneofCase.Data:
                    // envd drops the connection; saying why is kinder, and as final.
                    throw new ConnectException(ConnectCode.InvalidArgument, "the first message must be start");
                default:
                    break;
            }
        }

        await stream.BeginAsync(context.RequestAborted);
        stream.WriteMessage(new StreamInputResponse());
    }

    private static ListResponse List(LocalSandbox sandbox)
    {
        var answer = new ListResponse();
        foreach (var process in sandbox.Processes)
        {
            var config = new ProcessConfig { Cmd = process.Request.Command, Args = { process.Request.Arguments } };
            foreach (var (name, value) in process.Request.RequestedEnvironment)
            {
                config.Envs[name] = value;
            }

            if (process.Request.RequestedCwd is { } cwd)
            {
                config.Cwd = cwd;
            }

            var info = new ProcessInfo { Config = config, Pid = process.Pid };
            if (process.Request.Tag is { } tag)
            {
                info.Tag = tag;
            }

            answer.Processes.Add(info);
        }

        return answer;
    }

    private static async Task InputAsync(LocalProcess process, ProcessInput? input)
    {
        var atTerminal = process.Request.Terminal is not null;
        var (data, target, fault) = input?.InputCase switch
        {
            ProcessInput.InputOneofCase.Stdin => (input.Stdin, "stdin", atTerminal ? "tty assigned to process, input must go to it" : null),
            ProcessInput.InputOneofCase.Pty => (input.Pty, "tty", atTerminal ? null : "tty not assigned to process"),
            _ => throw new ConnectException(ConnectCode.Unimplemented, "invalid input type"),
        };
        if (fault is not null)
        {
            throw new ConnectException(ConnectCode.Internal, $"error writing to {target}: {fault}");
        }

        try
        {
            // Not cancelled when the caller leaves: half of an input would be worse than a late one.
            await process.WriteInputAsync(data.Memory);
        }
        catch (IOException e)
        {
            throw new ConnectException(ConnectCode.Internal, $"error writing to {target}: {e.Message}");
        }
    }

    private static Task ResizeAsync(LocalProcess process, PTY? terminal) =>
        terminal is null ? Task.CompletedTask
        : process.Request.Terminal is null ? throw new ConnectException(ConnectCode.Internal, "error resizing tty: tty not assigned to process")
        : process.ResizeAsync(StartRequests.Size(terminal));

    private static async Task SignalAsync(LocalProcess process, Signal signal)
    {
        if (signal is not (Signal.Sigkill or Signal.Sigterm))
        {
            throw new ConnectException(ConnectCode.Unimplemented, $"invalid signal: {(signal == Signal.Unspecified ? "SIGNAL_UNSPECIFIED" : ((int)signal).ToString(System.Globalization.CultureInfo.InvariantCulture))}");
        }

        if (process.Completion.IsCompleted)
        {
            throw NotFound($"process with pid {process.Pid} not found");
        }

        await process.SignalAsync((int)signal);
    }

    private async Task KillAfterAsync(LocalProcess process, TimeSpan limit, StrongBox<bool> expired, CancellationToken gone)
    {
        try
        {
            await process.Completion.WaitAsync(limit, time, gone);
        }
        catch (TimeoutException)
        {
            Volatile.Write(ref expired.Value, true);
            await process.SignalAsync((int)Signal.Sigkill);
        }
        catch (OperationCanceledException)
        {
            return; // the sandbox is being killed, and the process with it
        }
    }

    private static LocalProcess Select(LocalSandbox sandbox, ProcessSelector? selector) => selector?.SelectorCase switch
    {
        ProcessSelector.SelectorOneofCase.Pid => sandbox.Find(selector.Pid) ?? throw NotFound($"process with pid {selector.Pid} not found"),
        ProcessSelector.SelectorOneofCase.Tag => sandbox.Find(selector.Tag) ?? throw NotFound($"process with tag {selector.Tag} not found"),
        _ => throw new ConnectException(ConnectCode.Unimplemented, "invalid process selector"),
    };

    private static ConnectException NotFound(string message) => new(ConnectCode.NotFound, message);

    private static ConnectException DeadlineExceeded() => new(ConnectCode.DeadlineExceeded, "context deadline exceeded");
}
