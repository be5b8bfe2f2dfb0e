namespace InterpreterKernel.SandboxHost.Agent;

/// <summary>The text of agent.py, which this assembly carries.</summary>
internal static class AgentSource
{
    internal static string Read()
    {
        using var stream = typeof(AgentSource).Assembly.GetManifestResourceStream("agent.py")
            ?? throw new InvalidOperationException("agent.py is not in the assembly");
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }
}
