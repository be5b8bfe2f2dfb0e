namespace InterpreterKernel.SandboxHost.Isolation;

/// <summary>Removes what a host that died has left. Only under the layout's lock, so that its owner is surely dead.</summary>
internal static class Sweep
{
    /// <summary>Gives the number of sandboxes that were found. Without a runtime its records are deleted all the same.</summary>
    internal static async Task<int> RunAsync(HostLayout layout, OciRuntime? runtime)
    {
        var ids = Names(layout.RuntimeState).Union(Names(layout.Sandboxes)).ToList();
        foreach (var id in ids)
        {
            // Its processes died with their host's connection; this kills them if they did not, and removes the cgroups.
            if (runtime is not null && Directory.Exists(Path.Combine(layout.RuntimeState, id)))
            {
                await runtime.DeleteAsync(id);
            }

            Remove(Path.Combine(layout.RuntimeState, id));
            Remove(Path.Combine(layout.Sandboxes, id));
        }

        foreach (var template in Names(layout.Templates))
        {
            Remove(Path.Combine(layout.Templates, template));
        }

        Cgroups.RemoveLeftovers(layout);
        IdRange.Sweep(layout);
        return ids.Count;
    }

    private static IEnumerable<string> Names(string directory) =>
        Directory.Exists(directory) ? Directory.EnumerateDirectories(directory).Select(path => Path.GetFileName(path)) : [];

    private static void Remove(string directory)
    {
        if (Directory.Exists(directory))
        {
            Directory.Delete(directory, recursive: true);
        }
    }
}
