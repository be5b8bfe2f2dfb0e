using System.Text;
using Google.Protobuf;
using InterpreterKernel.Protocol.Connect;
using InterpreterKernel.Protocol.Envd;
using InterpreterKernel.SandboxHost.Agent;
using InterpreterKernel.SandboxHost.Files;
using InterpreterKernel.SandboxHost.Sandboxes;
using Microsoft.AspNetCore.Http;

namespace InterpreterKernel.SandboxHost.Envd;

/// <summary>envd's filesystem service (e2b-wire.md section 4.9).</summary>
internal sealed class FilesystemRoutes(TimeProvider time)
{
    internal const string Prefix = "/filesystem.Filesystem/";

    // PATH_MAX of Linux, with its closing zero.
    private const int MaxPath = 4096;

    internal Task HandleAsync(HttpContext context, LocalSandbox sandbox, string method) => method switch
    {
        "Stat" => UnaryAsync(context, sandbox, StatRequest.Parser, async (tasks, request) =>
            new StatResponse { Entry = await tasks.StatAsync(Path(request.Path)) }),
        "MakeDir" => UnaryAsync(context, sandbox, MakeDirRequest.Parser, async (tasks, request) =>
            new MakeDirResponse { Entry = await tasks.MakeAsync(Path(request.Path)) }),
        "Move" => UnaryAsync(context, sandbox, MoveRequest.Parser, async (tasks, request) =>
            new MoveResponse { Entry = await tasks.MoveAsync(Path(request.Source), Path(request.Destination)) }),
        "ListDir" => UnaryAsync(context, sandbox, ListDirRequest.Parser, async (tasks, request) =>
            new ListDirResponse { Entries = { await tasks.ListAsync(Path(request.Path), Math.Max(request.Depth, 1)) } }),
        "Remove" => UnaryAsync(context, sandbox, RemoveRequest.Parser, async (tasks, request) =>
        {
            await tasks.RemoveAsync(Path(request.Path));
            return new RemoveResponse();
        }),
        "WatchDir" => ConnectCalls.StreamAsync(context, (body, stream) => ExplainAsync(() => WatchAsync(context, sandbox, body, stream))),
        "CreateWatcher" => UnaryAsync(context, sandbox, WatchDirRequest.Parser, async (_, request) =>
        {
            Path(request.Path);
            return new CreateWatcherResponse { WatcherId = await sandbox.Watchers.CreateAsync(sandbox, request) };
        }),
        "GetWatcherEvents" => UnaryAsync(context, sandbox, GetWatcherEventsRequest.Parser, (_, request) =>
        {
            var watcher = sandbox.Watchers.Find(request.WatcherId) ?? throw NoWatcher(request.WatcherId);
            return Task.FromResult<IMessage>(new GetWatcherEventsResponse { Events = { watcher.Take() } });
        }),
        "RemoveWatcher" => UnaryAsync(context, sandbox, RemoveWatcherRequest.Parser, (_, request) =>
            sandbox.Watchers.Remove(request.WatcherId) ? Task.FromResult<IMessage>(new RemoveWatcherResponse()) : throw NoWatcher(request.WatcherId)),
        _ => ConnectCalls.NotFoundAsync(context),
    };

    private static Task UnaryAsync<T>(HttpContext context, LocalSandbox sandbox, MessageParser<T> parser, Func<DirectoryTasks, T, Task<IMessage>> call)
        where T : IMessage<T>, new() =>
        ConnectCalls.UnaryAsync(context, parser, async request =>
        {
            CallHeaders.RefuseStrangers(CallHeaders.User(context.Request.Headers));
            var patience = CallHeaders.Timeout(context.Request.Headers) is { } limit && limit < SandboxTask.DefaultPatience ? limit : SandboxTask.DefaultPatience;
            IMessage? answer = null;
            await ExplainAsync(async () => answer = await call(new DirectoryTasks(sandbox, patience, context.RequestAborted), request));
            return answer!;
        });

    /// <summary>Start event, then changes as they come with keepalives in the silence, until the caller leaves.</summary>
    private async Task WatchAsync(HttpContext context, LocalSandbox sandbox, ConnectRequestBody body, EventStream stream)
    {
        var silence = CallHeaders.KeepAlive(context.Request.Headers);
        var timeout = CallHeaders.Timeout(context.Request.Headers);
        CallHeaders.RefuseStrangers(CallHeaders.User(context.Request.Headers));
        var request = await body.ReadEnvelopeAsync(WatchDirRequest.Parser, context.RequestAborted)
            ?? throw new ConnectException(ConnectCode.InvalidArgument, "the request has no message");
        Path(request.Path);
        using var deadline = timeout is { } limit ? new CancellationTokenSource(limit, time) : new CancellationTokenSource();
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, deadline.Token);
        try
        {
            using var watch = await DirectoryWatch.StartAsync(sandbox, request, stop.Token);
            await stream.BeginAsync(stop.Token);
            stream.WriteMessage(new WatchDirResponse { Start = new WatchDirResponse.Types.StartEvent() });
            await stream.FlushAsync(stop.Token);
            var next = watch.NextAsync();
            while (true)
            {
                try
                {
                    stream.WriteMessage(new WatchDirResponse { Filesystem = await next.WaitAsync(silence, time, stop.Token) });
                    next = watch.NextAsync();
                }
                catch (TimeoutException)
                {
                    stream.WriteMessage(new WatchDirResponse { Keepalive = new WatchDirResponse.Types.KeepAlive() });
                }

                await stream.FlushAsync(stop.Token);
            }
        }
        catch (OperationCanceledException) when (deadline.IsCancellationRequested && !context.RequestAborted.IsCancellationRequested)
        {
            throw new ConnectException(ConnectCode.DeadlineExceeded, "context deadline exceeded");
        }
    }

    /// <summary>Puts what can go wrong inside the sandbox into the protocol's words.</summary>
    private static async Task ExplainAsync(Func<Task> call)
    {
        try
        {
            await call();
        }
        catch (FileTaskException e)
        {
            throw new ConnectException(Code(e.Error), e.Message);
        }
        catch (AgentRefusedException e)
        {
            throw new ConnectException(ConnectCode.ResourceExhausted, "the sandbox can't start another process: " + e.Message);
        }
    }

    private static ConnectCode Code(int error) => error switch
    {
        2 => ConnectCode.NotFound,
        17 => ConnectCode.AlreadyExists,
        1 or 13 or 30 => ConnectCode.PermissionDenied,
        20 or 21 or 22 or 36 => ConnectCode.InvalidArgument,
        16 or 39 or 40 => ConnectCode.FailedPrecondition,
        7 => ConnectCode.OutOfRange,
        110 => ConnectCode.DeadlineExceeded,
        _ => ConnectCode.Internal,
    };

    private static string Path(string path) =>
        path.Contains('\0') ? throw new ConnectException(ConnectCode.InvalidArgument, "the path holds a zero byte")
        : Encoding.UTF8.GetByteCount(path) >= MaxPath ? throw new ConnectException(ConnectCode.InvalidArgument, $"the path is longer than {MaxPath - 1} bytes")
        : LocalSandbox.Resolve(path);

    private static ConnectException NoWatcher(string id) => new(ConnectCode.NotFound, $"watcher with id {id} not found");
}
