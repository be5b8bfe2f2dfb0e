namespace InterpreterKernel.SandboxHost.Isolation;

/// <summary>What sandboxes of one kind are made of: a read-only skeleton and read-only parts of this machine.</summary>
/// <param name="Skeleton">The root directory: mount points, links and a synthetic <c>/etc</c>.</param>
/// <param name="Parts">Directories and files of this machine, each shown at a path inside.</param>
/// <param name="Python">The interpreter that runs the agent, as a path inside.</param>
/// <param name="SearchPath">PATH of programs inside; the template's python is the first.</param>
internal sealed record Template(string Skeleton, IReadOnlyList<TemplatePart> Parts, string Python, string SearchPath);

/// <summary>A read-only view of something on this machine.</summary>
/// <param name="Source">The path out here.</param>
/// <param name="Destination">The path inside.</param>
internal sealed record TemplatePart(string Source, string Destination);
