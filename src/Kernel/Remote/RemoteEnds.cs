using InterpreterKernel.Broker;
using InterpreterKernel.Kernel.Configuration;
using InterpreterKernel.Protocol.Relay;
using InterpreterKernel.Sandbox;

namespace InterpreterKernel.Kernel.Remote;

/// <summary>
/// Why there is no kernel, or none any more: each reason has a name of its own, which the cell shows and the log repeats, and a text that
/// says what happened, what survives and what to do. The names are listed in docs/timeouts.md.
/// </summary>
internal static class RemoteEnds
{
    private const string AllLost = "Variables and files in it are lost. Restart the kernel to get a new one.";

    /// <summary>The kernel process ended by itself, or something in the sandbox killed it.</summary>
    public static EndOfRemote Died(KernelDied died) => new(
        KernelDied: true,
        died.OutOfMemory == true ? "KernelOutOfMemory" : "KernelDied",
        WithLastWords(
            (died.OutOfMemory == true ? "The kernel in the sandbox was killed because it ran out of memory"
                : died.Ending.Signal is { } signal ? $"The kernel in the sandbox was killed by {signal}"
                : $"The kernel in the sandbox ended by itself with exit code {died.Ending.ExitCode}")
            + ". Its variables are lost. Restart the kernel to go on"
            + (died.OutOfMemory == true ? ", with more memory (setting 'memory') or less data." : "."),
            died.Ending));

    /// <summary>The claim's stream said that the sandbox is gone.</summary>
    public static EndOfRemote ClaimLost(ClaimEvent last) =>
        new(KernelDied: false, NameOf(last.Reason), last.Message ?? $"The sandbox is gone ({last.Reason}). {AllLost}");

    /// <summary>The claim's stream said nothing more.</summary>
    public static EndOfRemote BrokerGone(string why) =>
        new(KernelDied: false, NameOf(ClaimReasons.Broker), $"The broker that held the sandbox is gone ({why}), and the sandbox with it. {AllLost}");

    /// <summary>The link to the relay ended for good.</summary>
    public static EndOfRemote LinkEnded(RelayLinkEnd end) => end switch
    {
        { Reason: RelayLinkEndReason.RelayReplaced or RelayLinkEndReason.RelayGone } => new(
            KernelDied: false,
            "RelayDied",
            $"The relay, our process beside the kernel in the sandbox, is gone: {end.Message}. {AllLost}"),
        { Reason: RelayLinkEndReason.AttachFailed, Cause: SandboxException cause } => new(KernelDied: false, NameOf(cause), $"{cause.Message} {AllLost}"),
        { Reason: RelayLinkEndReason.ProtocolViolated or RelayLinkEndReason.Faulted } => new(
            KernelDied: false, "RelayFailed", $"The sandbox was given up: {end.Message}. {AllLost}"),
        _ => new(KernelDied: false, "SandboxLost", $"The connection to the kernel in the sandbox ended for good: {end.Message}. {AllLost}"),
    };

    /// <summary>The kernel did not answer in time.</summary>
    public static RemoteUnavailableException StartTimeout(TimeSpan limit, RelayConnection connection) => new(
        "KernelStartTimeout",
        $"The kernel did not answer within {Duration.Format(limit)} of being started ({SettingKeys.StartTimeout}); the sandbox was given up. "
        + (connection.IsConnected
            ? "It may be too slow for the sandbox: run the cell again, or raise the limit."
            : $"The relay in the sandbox could not be reached: {connection.Reason ?? "it was still being started"}."));

    /// <summary>The kernel ended before it was ready, or there is none of that name.</summary>
    public static string StartFailed(KernelStartFailed failed) =>
        WithLastWords($"The kernel could not be started in the sandbox: {failed.Message}", failed.Ending);

    /// <summary>The kernel ended while it started.</summary>
    public static string DiedAtStart(KernelDied died) => WithLastWords("The kernel ended while it started.", died.Ending);

    /// <summary>A claim's reason (<see cref="ClaimReasons"/>) as the name of an error.</summary>
    public static string NameOf(string? reason) => reason switch
    {
        ClaimReasons.Expired => "SandboxExpired",
        ClaimReasons.Killed => "SandboxKilled",
        ClaimReasons.HandedOver => "SandboxHandedOver",
        ClaimReasons.Released => "SandboxReleased",
        ClaimReasons.Stopping => "BrokerStopped",
        ClaimReasons.Broker => "BrokerLost",
        ClaimReasons.Limit => "SandboxLimit",
        ClaimReasons.Authentication => "KeyRejected",
        ClaimReasons.NotFound => "TemplateNotFound",
        ClaimReasons.Rejected => "RequestRejected",
        ClaimReasons.Unreachable => "ServiceUnreachable",
        ClaimReasons.Service => "ServiceFailed",
        ClaimReasons.EmbeddedHost => "EmbeddedHostFailed",

        // Of a newer broker: new_reason is NewReason.
        { Length: > 0 } other => string.Concat(other.Split('_', StringSplitOptions.RemoveEmptyEntries).Select(w => char.ToUpperInvariant(w[0]) + w[1..])),
        _ => "SandboxLost",
    };

    /// <summary>The same for a claim that never had a sandbox: a broker that went away took nothing with it.</summary>
    public static string NameOfRefusal(string? reason) => reason is ClaimReasons.Broker or ClaimReasons.Stopping ? "BrokerUnavailable" : NameOf(reason);

    /// <summary>The fault of a call to the sandbox as the name of an error.</summary>
    public static string NameOf(SandboxException fault) => fault.Reason switch
    {
        SandboxFault.SandboxLost => "SandboxLost",
        SandboxFault.CommandFailed => "RelayFailed",
        SandboxFault.Authentication or SandboxFault.Forbidden => "KeyRejected",
        SandboxFault.ConcurrencyLimit => "SandboxLimit",
        SandboxFault.Unreachable or SandboxFault.RequestTimeout => "ServiceUnreachable",
        SandboxFault.ServiceError or SandboxFault.ServiceBusy or SandboxFault.RateLimited => "ServiceFailed",
        _ => fault.Reason.ToString(),
    };

    private static string WithLastWords(string what, KernelEnding ending) =>
        ending.Stderr.Length == 0 ? what : $"{what}\nIts last words:\n{ending.Stderr.TrimEnd()}";
}
