using System.Collections.Concurrent;
using System.Diagnostics;
using System.Text.Json;
using InterpreterKernel.SandboxHost.Agent;
using InterpreterKernel.SandboxHost.Native;
using Microsoft.Extensions.Logging;

namespace InterpreterKernel.SandboxHost.Isolation;

/// <summary>Makes containers with an agent in them, and unmakes them without a trace.</summary>
internal sealed class SandboxFactory(SandboxHostOptions options, HostLayout layout, OciRuntime runtime, Cgroups cgroups, Poller poller, ILogger logger)
{
    private static readonly TimeSpan s_agentPatience = TimeSpan.FromSeconds(20);

    private readonly TemplateBuilder _builder = new(layout);
    private readonly ConcurrentDictionary<string, Lazy<Task<Template>>> _templates = new();

    internal Poller Poller => poller;

    /// <summary>The template of an interpreter (null: the configured one), made when first asked for.</summary>
    internal async Task<Template> TemplateAsync(string? python)
    {
        var key = python ?? "";
        var template = _templates.GetOrAdd(key, _ => new Lazy<Task<Template>>(() => BuildAsync(python)));
        try
        {
            return await template.Value;
        }
        catch (SandboxHostException)
        {
            // Asked again after the mend, it shall be tried again.
            _templates.TryRemove(new(key, template));
            throw;
        }
    }

    /// <summary>Starts a container; returns when its agent answers.</summary>
    internal async Task<Container> CreateAsync(string id, string? python, SandboxResources resources, CancellationToken cancellation)
    {
        var clock = Stopwatch.StartNew();
        var template = await TemplateAsync(python);
        var bundle = Path.Combine(layout.Sandboxes, id);
        var ids = IdRange.Reserve(layout);
        AgentLink? agent = null;
        PolledDescriptor? process = null;
        var pid = 0;
        try
        {
            cancellation.ThrowIfCancellationRequested();
            Directory.CreateDirectory(bundle, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            var spec = SandboxSpec.Create(template, ids, resources, cgroups, options.AcceptUnenforced, HasCgroup ? CgroupPath(id) : null);
            await File.WriteAllBytesAsync(Path.Combine(bundle, "config.json"), JsonSerializer.SerializeToUtf8Bytes(spec, OciJson.Default.OciSpec), cancellation);

            var (ours, theirs) = AgentSocket.CreatePair(poller);
            agent = new AgentLink(ours);
            using (theirs)
            {
                pid = await runtime.RunAsync(id, bundle, theirs);
            }

            if (HasCgroup && !cgroups.ViaSystemd)
            {
                Cgroups.Show(CgroupPath(id));
            }

            var started = clock.Elapsed;
            process = new PolledDescriptor(poller, Poller.Own(LibC.PidfdOpen(pid), "pidfd_open"), forWriting: false);
            var ready = await agent.Ready.WaitAsync(s_agentPatience, cancellation);
            if (!ready.Hidden)
            {
                throw new SandboxHostException(
                    SandboxHostFault.CannotIsolate,
                    $"the template's Python {ready.PythonVersion} lacks ctypes, which the sandbox's agent needs to protect itself from the code it runs; install that module or use another interpreter");
            }

            logger.ContainerStarted(id, pid, (int)started.TotalMilliseconds, (int)clock.ElapsedMilliseconds);
            return new Container(id, bundle, pid, process, agent, ids, this);
        }
        catch (Exception e)
        {
            var reason = Explain(e, bundle);
            agent?.Dispose();
            await RemoveAsync(id, pid, process, ids);
            if (reason is not null)
            {
                throw new SandboxHostException(SandboxHostFault.StartFailed, reason, e);
            }

            throw;
        }
    }

    /// <summary>Whether containers have a cgroup that can be frozen.</summary>
    internal bool CanPause => HasCgroup;

    internal Task PauseAsync(string id) => runtime.PauseAsync(id);

    internal Task ResumeAsync(string id) => runtime.ResumeAsync(id);

    /// <summary>Kills every process of the container and removes its cgroups, record and directory.</summary>
    internal async Task RemoveAsync(string id, int pid, PolledDescriptor? process, IdRange ids, bool frozen = false)
    {
        if (process is not null)
        {
            // Process 1 of the namespace: the kernel kills all others before it reports this one's end.
            if (LibC.PidfdSendSignal((int)process.Handle.DangerousGetHandle(), LibC.SigKill) == 0)
            {
                if (frozen)
                {
                    // With cgroup v1 the signal waits for the thaw; nothing of it runs then but its death.
                    await runtime.ThawAsync(id);
                }

                await process.WaitAsync();
            }

            process.Dispose();
            NativeProcess.Reap(pid);
        }

        if (Directory.Exists(Path.Combine(layout.RuntimeState, id)) && !await runtime.DeleteAsync(id))
        {
            logger.DeleteFailed(id);
        }

        var bundle = Path.Combine(layout.Sandboxes, id);
        if (Directory.Exists(bundle))
        {
            Directory.Delete(bundle, recursive: true);
        }

        ids.Dispose();
    }

    private bool HasCgroup => cgroups.Faults.Values.Any(fault => fault is null);

    private string CgroupPath(string id) =>
        cgroups.ViaSystemd ? $"user.slice:interpreter-kernel:{id}" : $"{layout.CgroupParent}/{id}";

    private static string? Explain(Exception e, string bundle)
    {
        if (e is TimeoutException or IOException)
        {
            var said = OciRuntime.Last(Path.Combine(bundle, "agent.log"));
            return e is TimeoutException
                ? $"the sandbox's agent did not answer within {s_agentPatience.TotalSeconds:0} s" + (said is null ? "" : ": " + said)
                : "the sandbox's agent could not start" + (said is null ? ": " + e.Message : ": " + said);
        }

        return null;
    }

    private async Task<Template> BuildAsync(string? python)
    {
        if (python is null && options.RootFilesystem is { } root)
        {
            return _builder.Build(root);
        }

        var interpreter = await Interpreter.AskAsync(python ?? options.Python ?? "/usr/bin/python3", CancellationToken.None);
        return _builder.Build(interpreter);
    }
}
