using Microsoft.Extensions.Logging;

namespace InterpreterKernel.Broker;

/// <summary>Everything the broker logs. Ids and reasons only: no keys, tokens, environments or notebook names.</summary>
internal static partial class BrokerLog
{
    [LoggerMessage(1, LogLevel.Information, "Broker {Version} (instance {Instance}, pid {Pid}) serves {Socket}")]
    public static partial void Serving(this ILogger log, string version, string instance, int pid, string socket);

    [LoggerMessage(2, LogLevel.Information, "Broker stops: {Why}")]
    public static partial void Stopping(this ILogger log, string why);

    [LoggerMessage(3, LogLevel.Information, "Broker has stopped; {Unconfirmed} kills are unconfirmed")]
    public static partial void Stopped(this ILogger log, int unconfirmed);

    [LoggerMessage(10, LogLevel.Information, "Sandbox {Id} created from {Template}")]
    public static partial void SandboxCreated(this ILogger log, string id, string template);

    [LoggerMessage(11, LogLevel.Information, "Sandbox {Id} killed (it was there: {WasThere}) in {Milliseconds:0.0} ms")]
    public static partial void SandboxKilled(this ILogger log, string id, bool wasThere, double milliseconds);

    [LoggerMessage(12, LogLevel.Warning, "Sandbox {Id} is lost: {Reason}")]
    public static partial void SandboxLost(this ILogger log, string id, string reason);

    [LoggerMessage(13, LogLevel.Warning, "The lease of sandbox {Id} could not be renewed: {Why}")]
    public static partial void RenewalFailed(this ILogger log, string id, string why);

    [LoggerMessage(14, LogLevel.Warning, "The kill of sandbox {Id} is not confirmed, trying again: {Why}")]
    public static partial void KillFailed(this ILogger log, string id, string why);

    [LoggerMessage(15, LogLevel.Warning, "The kill of sandbox {Id} was never confirmed, but its lease must have expired")]
    public static partial void KillGivenUp(this ILogger log, string id);

    [LoggerMessage(16, LogLevel.Warning, "A creation failed without saying whether there is a sandbox, and it could not be looked for: {Why}")]
    public static partial void LookForFailed(this ILogger log, string why);

    [LoggerMessage(17, LogLevel.Information, "The service is busy, trying again: {Why}")]
    public static partial void ServiceBusy(this ILogger log, string why);

    [LoggerMessage(18, LogLevel.Information, "The service refused a sandbox ({Why}); the limit in force is now {Limit}")]
    public static partial void LimitLearned(this ILogger log, string why, int? limit);

    [LoggerMessage(20, LogLevel.Information, "Claim {Id} opened by process {Pid}")]
    public static partial void ClaimOpened(this ILogger log, string id, int? pid);

    [LoggerMessage(21, LogLevel.Information, "Claim {Id} closed: {Why}")]
    public static partial void ClaimClosed(this ILogger log, string id, string why);

    [LoggerMessage(22, LogLevel.Warning, "Claim {Id} failed: {Reason}: {Why}")]
    public static partial void ClaimFailed(this ILogger log, string id, string reason, string why);

    [LoggerMessage(24, LogLevel.Information, "Claim {Id} got its slot after {Milliseconds:0} ms")]
    public static partial void SlotGranted(this ILogger log, string id, double milliseconds);

    [LoggerMessage(23, LogLevel.Warning, "Claim {Id}: its holder says {Reason}")]
    public static partial void HolderReported(this ILogger log, string id, string reason);

    [LoggerMessage(30, LogLevel.Warning, "Sandbox {Id} was left by broker {Instance}, which is dead; killed")]
    public static partial void Swept(this ILogger log, string id, string instance);

    [LoggerMessage(31, LogLevel.Warning, "Sandboxes of dead brokers could not be swept: {Why}")]
    public static partial void SweepFailed(this ILogger log, string why);

    [LoggerMessage(35, LogLevel.Information, "Spare {Id} of {Template} waits with its kernel {Kernel}")]
    public static partial void SpareReady(this ILogger log, string id, string template, string kernel);

    [LoggerMessage(36, LogLevel.Information, "Spare {Id} is given up: {Why}")]
    public static partial void SpareGivenUp(this ILogger log, string? id, string why);

    [LoggerMessage(37, LogLevel.Warning, "No spare of {Template} could be made: {Why}")]
    public static partial void SpareFailed(this ILogger log, string template, string why);

    [LoggerMessage(38, LogLevel.Information, "Claim {Id} has the spare {Sandbox}")]
    public static partial void SpareTaken(this ILogger log, string id, string? sandbox);

    [LoggerMessage(40, LogLevel.Warning, "A connection of user {User} was refused")]
    public static partial void StrangerRefused(this ILogger log, uint? user);

    [LoggerMessage(41, LogLevel.Debug, "The caller left: {How}")]
    public static partial void CallerLeft(this ILogger log, string how);

    [LoggerMessage(50, LogLevel.Error, "Unexpected failure")]
    public static partial void Unexpected(this ILogger log, Exception exception);
}
