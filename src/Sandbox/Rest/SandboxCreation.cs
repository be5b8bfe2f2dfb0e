using System.Text.Json;
using InterpreterKernel.Sandbox.Http;

namespace InterpreterKernel.Sandbox.Rest;

/// <summary>
/// Creating a sandbox so that none is leaked. A create can go wrong after the service has begun it: the answer is cut off,
/// comes too late, or is not wanted any more. Then a sandbox may run that nobody knows of, and it takes a place in the
/// concurrency limit. Every create therefore carries an own label, by which the sandbox is found again:
/// <code>
/// answer broken, or a gateway's 500, 502, 504   look for it while the request timeout lasts; found: it is the result
/// request timeout                               look for it once; found: kill it
/// cancelled by the caller                       wait a moment for the answer, else look for it; found: kill it
/// </code>
/// The cleaning up of the last two takes no longer than <see cref="CleanUpLimit"/> in all.
/// </summary>
internal static class SandboxCreation
{
    /// <summary>What v1 is told when the caller does not say; its own default of 15 s is not what v2 does.</summary>
    public static readonly TimeSpan DefaultLifetime = TimeSpan.FromSeconds(300);

    public static readonly TimeSpan CleanUpLimit = TimeSpan.FromSeconds(5);

    private const string Doing = "Creating a sandbox";

    private static readonly TimeSpan[] s_looks = [TimeSpan.Zero, TimeSpan.FromMilliseconds(300), TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(3)];

    public static async Task<SandboxBody> CreateAsync(ControlPlane api, SandboxOptions options, CancellationToken ct)
    {
        ct.ThrowIfCancellationRequested();
        var mark = Guid.NewGuid().ToString("N");
        var second = Body(options, mark, firstVersion: false);
        var first = Body(options, mark, firstVersion: true);

        // The request runs on this clock alone: the caller's cancellation is answered below, so that a sandbox which is
        // just being made is not forgotten.
        using var clock = new CallClock(api.Connection, CancellationToken.None);
        using var abandon = new CancellationTokenSource();
        using var sending = new CallClock(api.Connection, abandon.Token);
        var request = api.SendNewestAsync(
            HttpMethod.Post, "create", ("/v2/sandboxes", second), ("/sandboxes", first), repeatable: false, Doing, sending);
        try
        {
            var answer = await request.WaitAsync(ct);
            if (answer.Status is 500 or 502 or 504 && await FindAsync(api, mark, clock, looks: 1) is { } hidden)
            {
                return await AdoptAsync(api, hidden, options, clock, ct);
            }

            return api.Read(answer, ControlPlaneJson.Default.SandboxBody, Doing);
        }
        catch (OperationCanceledException) when (ct.IsCancellationRequested)
        {
            await AbandonAsync(api, request, abandon, mark);
            throw new OperationCanceledException($"{Doing} was cancelled by its caller; if one was made all the same, it was killed.", ct);
        }
        catch (SandboxRequestTimeoutException e)
        {
            throw new SandboxRequestTimeoutException($"{e.Message} {await RemoveAsync(api, mark, CancellationToken.None)}", e.Timeout, e.InnerException);
        }
        catch (SandboxException e) when (e is { Reason: SandboxFault.Unreachable, NeverSent: false, InnerException: { } cause })
        {
            if (await FindAsync(api, mark, clock, s_looks.Length) is { } found)
            {
                return await AdoptAsync(api, found, options, clock, ct);
            }

            throw new SandboxException(e.Reason, $"{e.Message} No sandbox of this call was found afterwards.", cause);
        }
    }

    private static async Task<SandboxBody> AdoptAsync(ControlPlane api, string id, SandboxOptions options, CallClock clock, CancellationToken ct)
    {
        if (!ct.IsCancellationRequested)
        {
            return await SandboxLifecycle.ConnectAsync(api, id, options.Timeout, clock);
        }

        using var limit = new CallClock(CleanUpLimit, api.Connection.TimeProvider, CancellationToken.None);
        await SandboxLifecycle.KillAsync(api, id, limit);
        throw new OperationCanceledException($"{Doing} was cancelled by its caller; the one that was made, {id}, was killed.", ct);
    }

    private static async Task AbandonAsync(ControlPlane api, Task<ServiceAnswer> request, CancellationTokenSource abandon, string mark)
    {
        var time = api.Connection.TimeProvider;
        using var limit = new CancellationTokenSource(CleanUpLimit, time);
        try
        {
            var answer = await request.WaitAsync(CleanUpLimit * 0.6, time);
            if (answer.IsSuccess)
            {
                using var clock = new CallClock(CleanUpLimit, time, limit.Token);
                await SandboxLifecycle.KillAsync(api, Checked(api.Read(answer, ControlPlaneJson.Default.SandboxBody, Doing)), clock);
            }
        }
        catch (Exception e) when (e is SandboxException or TimeoutException)
        {
            // No answer yet, or none that can be used: the request is dropped, and what it made is looked for.
            await abandon.CancelAsync();
            await request.ContinueWith(static t => _ = t.Exception, CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
            await RemoveAsync(api, mark, limit.Token);
        }
        catch (OperationCanceledException) when (limit.IsCancellationRequested)
        {
            // The service does not answer: the sandbox's own lifetime ends it, which is what a lifetime is for.
            return;
        }
    }

    /// <summary>Kills what this create made, if anything; says in words what came of it.</summary>
    private static async Task<string> RemoveAsync(ControlPlane api, string mark, CancellationToken limit)
    {
        try
        {
            using var clock = new CallClock(CleanUpLimit, api.Connection.TimeProvider, limit);
            if (await FindAsync(api, mark, clock, looks: 1) is not { } id)
            {
                return "No sandbox of this call was found; should one appear later, its own lifetime ends it.";
            }

            await SandboxLifecycle.KillAsync(api, id, clock);
            return $"The sandbox that had been made all the same, {id}, was killed.";
        }
        catch (Exception e) when (e is SandboxException or OperationCanceledException)
        {
            return "Whether a sandbox was made could not be found out; should there be one, its own lifetime ends it.";
        }
    }

    private static async Task<string?> FindAsync(ControlPlane api, string mark, CallClock clock, int looks)
    {
        var query = new SandboxListQuery { Metadata = new Dictionary<string, string> { [Sandbox.CreateKey] = mark } };
        for (var look = 0; look < looks; look++)
        {
            if (look > 0 && !clock.HasRoomFor(s_looks[look]))
            {
                break;
            }

            try
            {
                await clock.PauseAsync(s_looks[look]);
                await foreach (var info in SandboxLifecycle.ListAsync(api, query, clock.Token))
                {
                    // Checked here too: a service that ignores the filter would hand us somebody else's sandbox.
                    if (info.Metadata.GetValueOrDefault(Sandbox.CreateKey) == mark)
                    {
                        return info.Id;
                    }
                }
            }
            catch (OperationCanceledException) when (clock.IsOver)
            {
                return null;
            }
            catch (SandboxException) when (look < looks - 1)
            {
                continue; // the service may be on its way back; there is another look
            }
            catch (SandboxException) when (looks > 1)
            {
                return null; // the first failure is the one to report
            }
        }

        return null;
    }

    private static string Checked(SandboxBody body) => ServiceAddress.IsSandboxId(body.SandboxId)
        ? body.SandboxId!
        : throw new SandboxException(SandboxFault.Protocol, $"{Doing} failed: the service gave no usable sandbox id.");

    private static byte[] Body(SandboxOptions options, string mark, bool firstVersion)
    {
        var pauses = options.OnTimeout == TimeoutAction.Pause;
        var body = new CreateBody
        {
            TemplateId = options.Template,
            Timeout = options.Timeout is { } t ? SandboxLifecycle.WholeSeconds(t) : firstVersion ? SandboxLifecycle.WholeSeconds(DefaultLifetime) : null,
            Metadata = new Dictionary<string, string>(options.Metadata) { [Sandbox.CreateKey] = mark },
            EnvVars = options.EnvVars.Count > 0 ? options.EnvVars : null,
            Secure = firstVersion ? true : null,
            AllowInternetAccess = options.AllowInternetAccess,
            AutoPause = pauses ? true : null,
            AutoPauseMemory = pauses ? options.PauseKeepsMemory : null,
            AutoResume = options.AutoResume ? new AutoResumeBody(true) : null,
            Network = options.Network is not { } n ? null : new NetworkBody
            {
                AllowPublicTraffic = n.AllowPublicTraffic,
                AllowOut = n.AllowOut,
                DenyOut = n.DenyOut,
                MaskRequestHost = n.MaskRequestHost,
            },
        };
        return JsonSerializer.SerializeToUtf8Bytes(body, ControlPlaneJson.Default.CreateBody);
    }
}
