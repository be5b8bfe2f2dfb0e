using InterpreterKernel.Protocol.Envd;
using InterpreterKernel.SandboxHost.Sandboxes;

namespace InterpreterKernel.SandboxHost.Files;

/// <summary>Looks at and changes entries of a sandbox's directories. Each call is bounded in time and in the size of its answer.</summary>
internal sealed class DirectoryTasks(LocalSandbox sandbox, TimeSpan patience, CancellationToken caller)
{
    private const int MaxEntry = 64 * 1024;
    private const int MaxList = 20 * 1024 * 1024;

    internal Task<EntryInfo> StatAsync(string path) => OneAsync("stat", path);

    internal Task<EntryInfo> MakeAsync(string path) => OneAsync("make", path);

    internal Task<EntryInfo> MoveAsync(string source, string destination) => OneAsync("move", source, destination);

    internal Task RemoveAsync(string path) => SandboxTask.RunAsync(sandbox, ["remove", path], MaxEntry, patience, caller);

    internal async Task<IEnumerable<EntryInfo>> ListAsync(string path, uint depth)
    {
        var depthText = depth.ToString(System.Globalization.CultureInfo.InvariantCulture);
        return EntryText.ParseAll(await SandboxTask.RunAsync(sandbox, ["list", path, depthText], MaxList, patience, caller));
    }

    private async Task<EntryInfo> OneAsync(params string[] nameAndArguments) =>
        EntryText.ParseAll(await SandboxTask.RunAsync(sandbox, nameAndArguments, MaxEntry, patience, caller)).FirstOrDefault()
        ?? throw new FileTaskException(5, "the task inside the sandbox answered nothing");
}
