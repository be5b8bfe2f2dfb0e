using System.Security.Cryptography;
using System.Text;
using InterpreterKernel.Protocol.Connect;
using InterpreterKernel.SandboxHost.Agent;
using InterpreterKernel.SandboxHost.CodeInterpreter;
using InterpreterKernel.SandboxHost.Envd;
using InterpreterKernel.SandboxHost.Ports;
using InterpreterKernel.SandboxHost.Sandboxes;
using Microsoft.AspNetCore.Http;

namespace InterpreterKernel.SandboxHost.Http;

/// <summary>
/// What stands between clients and sandboxes (e2b-wire.md section 4.10): finds the sandbox a request is meant for, checks the
/// traffic token, and passes the request to envd or to a server inside.
/// </summary>
internal sealed class Edge(SandboxRegistry registry, EnvdRoutes envd, PortRoutes ports)
{
    internal async Task HandleAsync(HttpContext context, string id, int port)
    {
        if (port is < 1 or > 65535 || !SandboxRegistry.IsId(id))
        {
            await Answers.EdgeErrorAsync(context, id.Length <= 64 ? id : id[..64], 400, "The request names no sandbox and port", null);
            return;
        }

        if (registry.FindKnown(id) is not { } sandbox)
        {
            await Answers.SandboxNotFoundAsync(context, id);
            return;
        }

        if (port != EnvdRoutes.Port && sandbox.TrafficToken is { } token && !Same(context.Request.Headers[ForwardedHeaders.TrafficToken].ToString(), token))
        {
            await Answers.EdgeErrorAsync(context, id, 403, "The ports of this sandbox are not public: send its token as " + ForwardedHeaders.TrafficToken, port);
            return;
        }

        if (sandbox.State == SandboxState.Paused && !await WakeAsync(context, sandbox))
        {
            return;
        }

        await PassAsync(context, sandbox, port);
    }

    /// <summary>
    /// A signed address of a file names no sandbox when the client has one address for all of them (E2B_SANDBOX_URL); whose
    /// token made the signature is the one that is meant.
    /// </summary>
    internal Task HandleSignedAsync(HttpContext context) =>
        registry.Known.FirstOrDefault(sandbox => EnvdAccess.IsSignedFor(context.Request, sandbox)) is { } sandbox
            ? HandleAsync(context, sandbox.Id, EnvdRoutes.Port)
            : Answers.ErrorAsync(context, 401, "invalid signature");

    private async Task PassAsync(HttpContext context, LocalSandbox sandbox, int port)
    {
        // Whatever is open on the sandbox when it is killed ends at once, by a cut connection as with a real one;
        // a pause ends it too, but streams are told why.
        var caller = context.RequestAborted;
        var suspended = sandbox.Suspended;
        await using var cut = sandbox.Gone.Register(static state => ((HttpContext)state!).Abort(), context);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(caller, suspended);
        context.RequestAborted = either.Token;
        try
        {
            await (port switch
            {
                EnvdRoutes.Port => envd.HandleAsync(context, sandbox),
                CodeInterpreterProcess.Port => InterpretAsync(context, sandbox),
                _ => ports.HandleAsync(context, sandbox, port),
            });
        }
        catch (Exception e) when (e is OperationCanceledException or IOException && suspended.IsCancellationRequested && !caller.IsCancellationRequested)
        {
            context.RequestAborted = caller;
            await EndPausedAsync(context, sandbox.Id);
        }
        finally
        {
            context.RequestAborted = caller;
        }
    }

    private async Task InterpretAsync(HttpContext context, LocalSandbox sandbox)
    {
        try
        {
            await sandbox.CodeInterpreter.EnsureAsync(context.RequestAborted);
        }
        catch (Exception e) when (e is IOException or AgentRefusedException && !sandbox.Gone.IsCancellationRequested && !sandbox.Suspended.IsCancellationRequested)
        {
            await Answers.EdgeErrorAsync(context, sandbox.Id, 502, e.Message, CodeInterpreterProcess.Port);
            return;
        }

        await ports.HandleAsync(context, sandbox, CodeInterpreterProcess.Port);
    }

    /// <summary>Wakes a sandbox that was to be woken by traffic; false when an error was answered.</summary>
    private async Task<bool> WakeAsync(HttpContext context, LocalSandbox sandbox)
    {
        if (!sandbox.Request.AutoResume)
        {
            await Answers.SandboxNotFoundAsync(context, sandbox.Id);
            return false;
        }

        switch (await registry.WakeAsync(sandbox))
        {
            case ChangeResult.Done or ChangeResult.Already:
                return true;
            case ChangeResult.LimitReached:
                await Answers.EdgeErrorAsync(context, sandbox.Id, 429, "The sandbox is paused, and as many as may be run already", null);
                return false;
            default:
                await Answers.SandboxNotFoundAsync(context, sandbox.Id);
                return false;
        }
    }

    private static async Task EndPausedAsync(HttpContext context, string id)
    {
        if (!context.Response.HasStarted)
        {
            context.Response.Clear();
            await Answers.SandboxNotFoundAsync(context, id);
        }
        else if (context.Response.ContentType?.StartsWith("application/connect+", StringComparison.Ordinal) == true)
        {
            Envelope.WriteEnd(context.Response.BodyWriter, new ConnectError(ConnectCode.Unavailable, $"the connection to sandbox {id} ended before the stream completed"));
            await context.Response.BodyWriter.FlushAsync(context.RequestAborted);
        }
        else
        {
            context.Abort();
        }
    }

    private static bool Same(string given, string right) => CryptographicOperations.FixedTimeEquals(Encoding.UTF8.GetBytes(given), Encoding.UTF8.GetBytes(right));
}
