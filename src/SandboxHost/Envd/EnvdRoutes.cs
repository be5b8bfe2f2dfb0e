using InterpreterKernel.SandboxHost.Http;
using InterpreterKernel.SandboxHost.Sandboxes;
using Microsoft.AspNetCore.Http;

namespace InterpreterKernel.SandboxHost.Envd;

/// <summary>What envd, the daemon of an E2B sandbox, answers on port 49983. Every sandbox here is secured by its token.</summary>
internal sealed class EnvdRoutes(SandboxRegistry registry)
{
    internal const int Port = 49983;

    private readonly ProcessRoutes _processes = new(registry.Time);
    private readonly FilesystemRoutes _filesystem = new(registry.Time);
    private readonly FileRoutes _files = new();

    internal async Task HandleAsync(HttpContext context, LocalSandbox sandbox)
    {
        var path = context.Request.Path.Value ?? "";
        if (path == "/health" && context.Request.Method == "GET")
        {
            await Answers.NoContentAsync(context);
            return;
        }

        // The one route that takes a signature instead of the token.
        var refusal = path == "/files" ? EnvdAccess.RefuseFiles(context.Request, sandbox)
            : EnvdAccess.HasToken(context.Request, sandbox) ? null
            : "unauthorized access, please provide a valid access token or method signing if supported";
        if (refusal is not null)
        {
            await Answers.ErrorAsync(context, 401, refusal);
            return;
        }

        await (path switch
        {
            "/files" => _files.HandleAsync(context, sandbox),
            "/files/compose" => FileRoutes.ComposeAsync(context, sandbox),
            "/envs" => Answers.JsonAsync(context, 200, new Dictionary<string, string>(sandbox.Request.EnvVars), HostJson.Default.DictionaryStringString),
            "/metrics" => MetricsAsync(context, sandbox),
            _ when path.StartsWith(ProcessRoutes.Prefix, StringComparison.Ordinal) => _processes.HandleAsync(context, sandbox, path[ProcessRoutes.Prefix.Length..]),
            _ when path.StartsWith(FilesystemRoutes.Prefix, StringComparison.Ordinal) => _filesystem.HandleAsync(context, sandbox, path[FilesystemRoutes.Prefix.Length..]),
            _ => Answers.ErrorAsync(context, 404, $"no route for {context.Request.Method} {path}"),
        });
    }

    private static async Task MetricsAsync(HttpContext context, LocalSandbox sandbox)
    {
        if (await sandbox.Metrics.ReadAsync() is [.., var last])
        {
            await Answers.JsonAsync(context, 200, EnvdMetrics.From(last, sandbox.Request.Resources), HostJson.Default.EnvdMetrics);
        }
        else
        {
            await Answers.ErrorAsync(context, 500, "there are no metrics of this sandbox yet");
        }
    }
}
