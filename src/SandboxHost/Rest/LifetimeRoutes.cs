using InterpreterKernel.SandboxHost.Http;
using InterpreterKernel.SandboxHost.Sandboxes;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace InterpreterKernel.SandboxHost.Rest;

/// <summary>How long a sandbox lives, and its pauses (e2b-wire.md section 2.4).</summary>
internal sealed class LifetimeRoutes(SandboxHostOptions options, SandboxRegistry registry, ILogger logger)
{
    private const int DefaultConnect = 300;
    private const int DefaultResume = 15;
    private const int MinRefresh = 15;
    private const int MaxRefresh = 3600;

    internal async Task SetTimeoutAsync(HttpContext context, LocalSandbox sandbox)
    {
        if (await JsonBody.ReadAsync(context, HostJson.Default.TimeoutBody) is not { } body)
        {
            return;
        }

        if (body.Timeout is not { } seconds)
        {
            await Answers.ErrorAsync(context, 400, "validation error: timeout is required");
            return;
        }

        if (sandbox.State == SandboxState.Paused)
        {
            await PausedAsync(context, sandbox);
            return;
        }

        // Unlike the others this may shorten.
        MoveEnd(sandbox, registry.Time.GetUtcNow() + TimeSpan.FromSeconds(Math.Max(seconds, 0)));
        await Answers.NoContentAsync(context);
    }

    internal async Task RefreshAsync(HttpContext context, LocalSandbox sandbox)
    {
        if (await JsonBody.ReadAsync(context, HostJson.Default.RefreshBody, new RefreshBody(null)) is not { } body)
        {
            return;
        }

        if (body.Duration is < 0 or > MaxRefresh)
        {
            await Answers.ErrorAsync(context, 400, $"validation error: duration must be 0 to {MaxRefresh}");
            return;
        }

        if (sandbox.State == SandboxState.Paused)
        {
            await PausedAsync(context, sandbox);
            return;
        }

        Extend(sandbox, Math.Max(body.Duration ?? MinRefresh, MinRefresh));
        await Answers.NoContentAsync(context);
    }

    internal async Task PauseAsync(HttpContext context, LocalSandbox sandbox)
    {
        if (await JsonBody.ReadAsync(context, HostJson.Default.PauseBody, new PauseBody(null)) is not { } body)
        {
            return;
        }

        if (body.Memory == false)
        {
            await Answers.ErrorAsync(context, 400, "memory: false is not supported: this host pauses a sandbox with its processes, in memory, and has no snapshots of files");
            return;
        }

        if (!registry.CanPause)
        {
            await Answers.ErrorAsync(context, 501, "sandboxes can't be paused here: they have no cgroup of their own on this machine");
            return;
        }

        try
        {
            await (await registry.PauseAsync(sandbox) switch
            {
                ChangeResult.Done => Answers.NoContentAsync(context),
                ChangeResult.Already => Answers.ErrorAsync(context, 409, $"Error pausing sandbox - sandbox '{sandbox.Id}' is already paused"),
                ChangeResult.LimitReached => Answers.ErrorAsync(context, 503, $"this host keeps at most {options.PausedLimit} paused sandboxes; kill or resume one"),
                _ => SandboxRoutes.NotFoundAsync(context, sandbox.Id),
            });
        }
        catch (SandboxHostException e)
        {
            logger.ChangeFailed(e);
            await Answers.ErrorAsync(context, 500, "Error pausing sandbox: " + e.Message);
        }
    }

    /// <summary>Both versions: 200 for one that ran (its time may only get longer), 201 for one that was woken.</summary>
    internal async Task ConnectAsync(HttpContext context, LocalSandbox sandbox)
    {
        if (await ReadTimeoutAsync(context) is not { } body)
        {
            return;
        }

        var seconds = body.Timeout ?? DefaultConnect;
        if (await ResumeAsync(context, sandbox, seconds) is not { } result)
        {
            return;
        }

        if (result == ChangeResult.Already)
        {
            Extend(sandbox, seconds);
        }

        await Answers.JsonAsync(context, result == ChangeResult.Already ? 200 : 201, SandboxRoutes.Created(sandbox), HostJson.Default.CreatedSandbox);
    }

    /// <summary>The older way, which wants a paused one.</summary>
    internal async Task ResumeAsync(HttpContext context, LocalSandbox sandbox)
    {
        if (await ReadTimeoutAsync(context) is not { } body || await ResumeAsync(context, sandbox, body.Timeout ?? DefaultResume) is not { } result)
        {
            return;
        }

        await (result == ChangeResult.Already
            ? Answers.ErrorAsync(context, 409, $"Sandbox '{sandbox.Id}' is already running")
            : Answers.JsonAsync(context, 201, SandboxRoutes.Created(sandbox), HostJson.Default.CreatedSandbox));
    }

    /// <summary>Null when an error was answered.</summary>
    private async Task<ChangeResult?> ResumeAsync(HttpContext context, LocalSandbox sandbox, int seconds)
    {
        try
        {
            switch (await registry.ResumeAsync(sandbox, TimeSpan.FromSeconds(seconds)))
            {
                case ChangeResult.LimitReached:
                    await SandboxRoutes.LimitReachedAsync(context, options.Limit);
                    return null;
                case ChangeResult.Gone:
                    await SandboxRoutes.NotFoundAsync(context, sandbox.Id);
                    return null;
                case var result:
                    return result;
            }
        }
        catch (SandboxHostException e)
        {
            logger.ChangeFailed(e);
            await Answers.ErrorAsync(context, 500, "Error resuming sandbox: " + e.Message);
            return null;
        }
    }

    private static async Task<TimeoutBody?> ReadTimeoutAsync(HttpContext context)
    {
        if (await JsonBody.ReadAsync(context, HostJson.Default.TimeoutBody, new TimeoutBody(null, null)) is not { } body)
        {
            return null;
        }

        if (body.Timeout is <= 0)
        {
            await Answers.ErrorAsync(context, 400, "Timeout must be greater than 0");
            return null;
        }

        if (body.Memory == false)
        {
            await Answers.ErrorAsync(context, 400, "memory: false is not supported: this host resumes a sandbox with the processes it had");
            return null;
        }

        return body;
    }

    private static Task PausedAsync(HttpContext context, LocalSandbox sandbox) =>
        Answers.ErrorAsync(context, 404, $"Sandbox \"{sandbox.Id}\" is paused and has no end to move; connect to it to resume it");

    private void Extend(LocalSandbox sandbox, int seconds)
    {
        var end = registry.Time.GetUtcNow() + TimeSpan.FromSeconds(seconds);
        if (end > sandbox.EndAt)
        {
            MoveEnd(sandbox, end);
        }
    }

    private void MoveEnd(LocalSandbox sandbox, DateTimeOffset end)
    {
        var last = sandbox.StartedAt + options.MaxLifetime;
        registry.SetEnd(sandbox, end < last ? end : last);
    }
}
