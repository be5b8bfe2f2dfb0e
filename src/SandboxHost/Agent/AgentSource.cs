namespace InterpreterKernel.SandboxHost.Agent;

/// <summary>The Python files that this assembly carries for the inside of a sandbox.</summary>
internal static class AgentSource
{
    private const string TaskPrefix = "Tasks/";

    /// <summary>The text of agent.py.</summary>
    internal static string Read() => Read("agent.py");

    /// <summary>The modules of the agent's file tasks: name and text.</summary>
    internal static IEnumerable<(string Name, string Text)> Tasks() =>
        typeof(AgentSource).Assembly.GetManifestResourceNames()
            .Where(name => name.StartsWith(TaskPrefix, StringComparison.Ordinal))
            .Select(name => (name[TaskPrefix.Length..], Read(name)));

    private static string Read(string name)
    {
        using var stream = typeof(AgentSource).Assembly.GetManifestResourceStream(name)
            ?? throw new InvalidOperationException($"{name} is not in the assembly");
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }
}
