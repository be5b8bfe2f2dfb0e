using Microsoft.Extensions.Logging;

namespace InterpreterKernel.SandboxHost;

internal static partial class SandboxHostLog
{
    [LoggerMessage(1, LogLevel.Information, "embedded host on {Address}, state in {Directory}, limit {Limit}")]
    internal static partial void HostStarted(this ILogger logger, string address, string directory, int limit);

    [LoggerMessage(2, LogLevel.Debug, "sandbox {Id} is process {Pid}: started after {Started} ms, agent ready after {Ready} ms")]
    internal static partial void ContainerStarted(this ILogger logger, string id, int pid, int started, int ready);

    [LoggerMessage(3, LogLevel.Warning, "the runtime could not delete its record of sandbox {Id}; the sweep will")]
    internal static partial void DeleteFailed(this ILogger logger, string id);

    [LoggerMessage(4, LogLevel.Debug, "sandbox {Id} is gone ({Reason}) after {Elapsed} ms of removal")]
    internal static partial void SandboxGone(this ILogger logger, string id, string reason, int elapsed);

    [LoggerMessage(5, LogLevel.Warning, "sandbox {Id} could not be removed cleanly")]
    internal static partial void RemovalFailed(this ILogger logger, Exception error, string id);

    [LoggerMessage(6, LogLevel.Warning, "the process that runs sandbox {Id} ended by itself")]
    internal static partial void AgentLost(this ILogger logger, string id);

    [LoggerMessage(7, LogLevel.Warning, "swept up {Count} sandboxes that a dead host had left in {Directory}")]
    internal static partial void Swept(this ILogger logger, int count, string directory);

    [LoggerMessage(8, LogLevel.Error, "a request failed unexpectedly: {Method} {Path}")]
    internal static partial void RequestFailed(this ILogger logger, Exception error, string method, string path);

    [LoggerMessage(9, LogLevel.Warning, "sandbox could not be created")]
    internal static partial void CreateFailed(this ILogger logger, Exception error);

    [LoggerMessage(10, LogLevel.Warning, "sandbox {Id} could not be paused at the end of its time and is killed")]
    internal static partial void PauseFailed(this ILogger logger, Exception error, string id);

    [LoggerMessage(11, LogLevel.Warning, "sandbox could not be paused or resumed")]
    internal static partial void ChangeFailed(this ILogger logger, Exception error);
}
