using InterpreterKernel.SandboxHost.Agent;
using InterpreterKernel.SandboxHost.Native;

namespace InterpreterKernel.SandboxHost.Isolation;

/// <summary>A running container with its agent. Disposal kills it and returns when nothing of it is left.</summary>
internal sealed class Container(
    string id, string directory, int pid, PolledDescriptor process, AgentLink agent, IdRange ids, SandboxFactory factory) : IAsyncDisposable
{
    // A pause that failed half way may have frozen some of it.
    private bool _frozen;

    internal AgentLink Agent => agent;

    /// <summary>The host's own files about it, for nobody else to see; they go with it.</summary>
    internal string Directory => directory;

    /// <summary>Process 1, as numbered outside.</summary>
    internal int Pid => pid;

    /// <summary>A pipe whose ends programs inside may use as their own.</summary>
    internal PipePair CreatePipe() => PipePair.Create(ids.PipeOwner);

    /// <summary>What its processes use at this moment.</summary>
    internal CgroupUsage ReadUsage() => CgroupUsage.Read(pid);

    /// <summary>Stops all its processes where they are (the cgroup freezer).</summary>
    /// <exception cref="SandboxHostException">They run on.</exception>
    internal async Task PauseAsync()
    {
        _frozen = true;
        await factory.PauseAsync(id);
    }

    /// <summary>Lets them go on.</summary>
    /// <exception cref="SandboxHostException">They stand still.</exception>
    internal async Task ResumeAsync()
    {
        await factory.ResumeAsync(id);
        _frozen = false;
    }

    public async ValueTask DisposeAsync()
    {
        await factory.RemoveAsync(id, pid, process, ids, _frozen);
        agent.Dispose();
        await agent.Completion;
    }
}
