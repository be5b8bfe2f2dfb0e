using System.Diagnostics;
using System.Globalization;
using System.Runtime.CompilerServices;
using InterpreterKernel.Kernel.Configuration;
using InterpreterKernel.Kernel.Remote;
using InterpreterKernel.Sandbox;

namespace InterpreterKernel.Kernel.Commands;

/// <summary>
/// What <c>doctor</c> asks of a remote service: one sandbox is created, tried and killed, step by step. What each step is
/// for, and what a kernel does without it, is in docs/compatibility.md.
/// </summary>
internal static class ServiceProbe
{
    private const string Key = "interpreter-kernel.doctor";
    private static readonly TimeSpan s_lifetime = TimeSpan.FromSeconds(120);
    private static readonly TimeSpan s_untilStopped = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan s_largestSkew = TimeSpan.FromSeconds(5);

    /// <summary>The checks, each as it is known. The sandbox is gone when this ends, in whatever way.</summary>
    public static async IAsyncEnumerable<DoctorCheck> RunAsync(
        SandboxConnection service, Settings settings, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        // (1) Who is asked, and as whom. The key itself is never printed.
        yield return new DoctorCheck("service", true, true, Address(service), null);
        yield return service.ApiKey is not null || service.Debug
            ? new DoctorCheck("key", true, true, service.Debug ? "not needed in debug mode" : "set", null)
            : new DoctorCheck("key", false, true, "not set", "Set E2B_API_KEY to a key of this service.");

        // (2) It answers, and accepts the key.
        var slots = await AttemptAsync("slots", "Check the address, the network and the key.", async () =>
        {
            var used = await UsedAsync(service, cancellationToken).ConfigureAwait(false);
            var since = Stopwatch.GetTimestamp();
            used = await UsedAsync(service, cancellationToken).ConfigureAwait(false);
            return $"{used} running now, {settings.Limit} allowed by the setting 'limit'; an answer takes {Milliseconds(since)}";
        }).ConfigureAwait(false);
        yield return slots;
        if (!slots.Ok)
        {
            yield break;
        }

        // (3) A sandbox of the configured template.
        Sandbox.Sandbox? sandbox = null;
        var created = await AttemptAsync("create", "The template is named by the setting 'template'; a limit is mended by killing a sandbox.", async () =>
        {
            var since = Stopwatch.GetTimestamp();
            var options = new SandboxOptions { Template = settings.Template, Timeout = s_lifetime, Metadata = new Dictionary<string, string> { [Key] = "probe" } };
            sandbox = await Sandbox.Sandbox.CreateAsync(options, service, cancellationToken).ConfigureAwait(false);
            return $"template {settings.Template} in {Milliseconds(since)}, by the v{sandbox.CreateVersion} route, envd {(sandbox.EnvdVersion is { Length: > 0 } v ? v : "of unknown version")}";
        }).ConfigureAwait(false);
        yield return created;
        if (sandbox is null)
        {
            yield break;
        }

        await using var ownership = sandbox.ConfigureAwait(false);
        await foreach (var check in TryAsync(sandbox, service, settings, cancellationToken).ConfigureAwait(false))
        {
            yield return check;
        }

        // (9) It is killed, and its slot is free.
        yield return await AttemptAsync("kill", "Its lifetime of two minutes ends it. Without a working kill, slots stay taken for as long as the lifetime.", async () =>
        {
            var since = Stopwatch.GetTimestamp();
            var killed = await sandbox.KillAsync(cancellationToken).ConfigureAwait(false);
            var took = Milliseconds(since);
            var left = await MineAsync(service, sandbox.Id, cancellationToken).ConfigureAwait(false);
            return killed && !left ? $"in {took}; the slot is free" : throw new SandboxException(SandboxFault.ServiceError, left ? "the sandbox is still listed after its kill" : "the service did not know the sandbox any more");
        }).ConfigureAwait(false);
    }

    private static async IAsyncEnumerable<DoctorCheck> TryAsync(
        Sandbox.Sandbox sandbox, SandboxConnection service, Settings settings, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        // (4) Commands run, and the clock in there is right.
        yield return await AttemptAsync("run", "Processes can't be started in the sandbox; no cell can run.", async () =>
        {
            await sandbox.Commands.RunAsync("true", null, cancellationToken).ConfigureAwait(false);
            var since = Stopwatch.GetTimestamp();
            var said = await sandbox.Commands.RunAsync("echo ready", null, cancellationToken).ConfigureAwait(false);
            return said is { ExitCode: 0, Stdout: "ready\n" }
                ? $"a command takes {Milliseconds(since)}"
                : throw new SandboxException(SandboxFault.CommandFailed, $"echo ended with {said.ExitCode} and printed '{said.Stdout}'");
        }).ConfigureAwait(false);
        yield return await AttemptAsync(
            "clock",
            "The sandbox's clock is off: certificates and file times there will be, too.",
            async () =>
            {
                var before = DateTimeOffset.UtcNow;
                var said = await sandbox.Commands.RunAsync("date +%s.%N", null, cancellationToken).ConfigureAwait(false);
                var after = DateTimeOffset.UtcNow;
                var there = DateTimeOffset.UnixEpoch + TimeSpan.FromSeconds(double.Parse(said.Stdout.Trim(), CultureInfo.InvariantCulture));
                var skew = there < before ? there - before : there > after ? there - after : TimeSpan.Zero;
                return skew.Duration() < s_largestSkew
                    ? $"{skew.TotalMilliseconds:0} ms off ours"
                    : throw new SandboxException(SandboxFault.ServiceError, $"{skew.TotalSeconds:0} s off ours");
            },
            required: false).ConfigureAwait(false);

        // (5) The template carries a kernel.
        yield return await AttemptAsync(
            "ipykernel",
            settings.PipInstall ? "It will be installed at each start (setting 'pipInstall'); a template that has it starts faster." : "Use a template that has it, such as code-interpreter-v1, or allow to install it (setting 'pipInstall').",
            async () => await TemplateNeeds.AreMetAsync(sandbox, cancellationToken).ConfigureAwait(false)
                ? "the template's python3 has ipykernel and pyzmq"
                : throw new SandboxException(SandboxFault.CommandFailed, $"the python3 of template {settings.Template} lacks ipykernel or pyzmq"),
            required: !settings.PipInstall).ConfigureAwait(false);

        // (6) What is stopped stays stopped: a whole tree of processes, as a cell that ran out of time may leave it.
        yield return await AttemptAsync("interrupt", "Code that ran out of time may run on until the sandbox is killed.", async () =>
        {
            try
            {
                await sandbox.Commands.RunAsync("sleep 300 & sleep 300; sleep 300", new CommandOptions { Timeout = s_untilStopped }, cancellationToken).ConfigureAwait(false);
            }
            catch (ExecutionTimeoutException e) when (e.Stopped)
            {
                return "a command and its children are stopped when their time is over";
            }
            catch (ExecutionTimeoutException e)
            {
                throw new SandboxException(SandboxFault.ServiceError, e.Message, e);
            }

            throw new SandboxException(SandboxFault.CommandFailed, "a command that should have been stopped ended by itself");
        }).ConfigureAwait(false);

        // (7) The lease can be renewed.
        yield return await AttemptAsync("timeout", "Leases can't be renewed: sandboxes end with their lifetime, so set 'lifetime' to as long as a notebook may take.", async () =>
        {
            await sandbox.SetTimeoutAsync(s_lifetime, cancellationToken).ConfigureAwait(false);
            return "the lifetime can be set";
        }).ConfigureAwait(false);

        // (8) Not needed by the kernel today.
        yield return await AttemptAsync(
            "pause",
            "Nothing: kernels do without it.",
            async () =>
            {
                var since = Stopwatch.GetTimestamp();
                await sandbox.PauseAsync(null, cancellationToken).ConfigureAwait(false);
                var paused = Milliseconds(since);
                since = Stopwatch.GetTimestamp();
                var resumed = await Sandbox.Sandbox.ConnectAsync(sandbox.Id, service, s_lifetime, cancellationToken).ConfigureAwait(false);
                resumed.Detach();
                return await resumed.IsRunningAsync(cancellationToken).ConfigureAwait(false)
                    ? $"paused in {paused}, resumed in {Milliseconds(since)}"
                    : throw new SandboxException(SandboxFault.ServiceError, "the sandbox did not answer after it was resumed");
            },
            required: false).ConfigureAwait(false);
    }

    private static async Task<DoctorCheck> AttemptAsync(string name, string mend, Func<Task<string>> attempt, bool required = true)
    {
        try
        {
            return new DoctorCheck(name, true, required, await attempt().ConfigureAwait(false), null);
        }
        catch (SandboxException e)
        {
            return new DoctorCheck(name, false, required, e.Message, mend);
        }
        catch (FormatException e)
        {
            return new DoctorCheck(name, false, required, e.Message, mend);
        }
    }

    private static async Task<int> UsedAsync(SandboxConnection service, CancellationToken cancellationToken)
    {
        var query = new SandboxListQuery { States = [SandboxState.Running] };
        return await Sandbox.Sandbox.ListAsync(service, query, cancellationToken).CountAsync(cancellationToken).ConfigureAwait(false);
    }

    private static async Task<bool> MineAsync(SandboxConnection service, string id, CancellationToken cancellationToken)
    {
        var query = new SandboxListQuery { Metadata = new Dictionary<string, string> { [Key] = "probe" } };
        return await Sandbox.Sandbox.ListAsync(service, query, cancellationToken).AnyAsync(s => s.Id == id, cancellationToken).ConfigureAwait(false);
    }

    private static string Address(SandboxConnection service) => service.Debug
        ? "E2B's debug mode, on this machine"
        : (service.ApiUrl?.GetLeftPart(UriPartial.Path) ?? $"https://api.{service.Domain}") + (service.SandboxUrl is { } s ? $", sandboxes at {s.GetLeftPart(UriPartial.Path)}" : "");

    private static string Milliseconds(long since) => string.Create(CultureInfo.InvariantCulture, $"{Stopwatch.GetElapsedTime(since).TotalMilliseconds:0} ms");
}
