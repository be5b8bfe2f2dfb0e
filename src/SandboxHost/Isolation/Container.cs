using InterpreterKernel.SandboxHost.Agent;
using InterpreterKernel.SandboxHost.Native;

namespace InterpreterKernel.SandboxHost.Isolation;

/// <summary>A running container with its agent. Disposal kills it and returns when nothing of it is left.</summary>
internal sealed class Container(string id, int pid, PolledDescriptor process, AgentLink agent, IdRange ids, SandboxFactory factory) : IAsyncDisposable
{
    internal AgentLink Agent => agent;

    /// <summary>Process 1, as numbered outside.</summary>
    internal int Pid => pid;

    /// <summary>A pipe whose ends programs inside may use as their own.</summary>
    internal PipePair CreatePipe() => PipePair.Create(ids.PipeOwner);

    public async ValueTask DisposeAsync()
    {
        await factory.RemoveAsync(id, pid, process, ids);
        agent.Dispose();
        await agent.Completion;
    }
}
