using System.Security.Cryptography;
using System.Text;
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

        if (!TokenIsRight(context.Request, sandbox))
        {
            await Answers.ErrorAsync(context, 401, "unauthorized access, please provide a valid access token or method signing if supported");
            return;
        }

        await (path switch
        {
            "/files" => _files.HandleAsync(context, sandbox),
            "/envs" => Answers.JsonAsync(context, 200, new Dictionary<string, string>(sandbox.Request.EnvVars), HostJson.Default.DictionaryStringString),
            _ when path.StartsWith(ProcessRoutes.Prefix, StringComparison.Ordinal) => _processes.HandleAsync(context, sandbox, path[ProcessRoutes.Prefix.Length..]),
            _ when path.StartsWith(FilesystemRoutes.Prefix, StringComparison.Ordinal) => _filesystem.HandleAsync(context, sandbox, path[FilesystemRoutes.Prefix.Length..]),
            _ => Answers.ErrorAsync(context, 404, $"no route for {context.Request.Method} {path}"),
        });
    }

    private static bool TokenIsRight(HttpRequest request, LocalSandbox sandbox) =>
        CryptographicOperations.FixedTimeEquals(
            Encoding.UTF8.GetBytes(request.Headers["X-Access-Token"].ToString()),
            Encoding.UTF8.GetBytes(sandbox.AccessToken));
}
