using System.Text.Json;
using InterpreterKernel.SandboxHost.Http;
using InterpreterKernel.SandboxHost.Sandboxes;
using Microsoft.AspNetCore.Http;

namespace InterpreterKernel.SandboxHost.Rest;

/// <summary>
/// What this host can do of E2B's network options. Its sandboxes reach no network at all, so whatever forbids is in force
/// already, and whatever opens is refused instead of being promised. (<c>allow_internet_access: true</c> is let through: it is what
/// older SDKs send when nobody asked for anything; the sandbox's detail says false.)
/// </summary>
internal static class NetworkRules
{
    private const int MaxHost = 255;

    /// <summary>What is wrong with the options; null when the host can keep them.</summary>
    internal static string? Fault(NetworkOptions? options) => options switch
    {
        null => null,
        { AllowOut.Count: > 0 } => Refusal("allowOut"),
        _ when HasContent(options.EgressProxy) => Refusal("egressProxy"),
        _ when HasContent(options.Rules) => Refusal("rules"),
        { HttpsPorts.Count: > 0 } => "network.httpsPorts is not supported by this host: it forwards plain HTTP",
        { MaskRequestHost: { } mask } when mask.Length is 0 or > MaxHost || mask.Any(c => c is <= ' ' or > '~') => "network.maskRequestHost must be a host name",
        _ => null,
    };

    /// <summary><c>PUT /sandboxes/{id}/network</c>.</summary>
    internal static async Task PutAsync(HttpContext context, LocalSandbox sandbox)
    {
        if (await JsonBody.ReadAsync(context, HostJson.Default.NetworkOptions) is not { } options)
        {
            return;
        }

        // Here somebody did ask for it.
        if ((options.AllowInternetAccess == true ? Refusal("allow_internet_access") : Fault(options)) is { } fault)
        {
            await Answers.ErrorAsync(context, 400, fault);
            return;
        }

        sandbox.Journal.Info("network options set: no access, as before");
        await Answers.NoContentAsync(context);
    }

    private static bool HasContent(JsonElement? element) => element?.ValueKind switch
    {
        null or JsonValueKind.Null or JsonValueKind.Undefined => false,
        JsonValueKind.Object => element.Value.EnumerateObject().Any(),
        _ => true,
    };

    private static string Refusal(string name) => $"network.{name} is not supported: the sandboxes of this host reach no network";
}
