using System.Xml.Linq;

namespace InterpreterKernel.Kernel.Tests;

/// <summary>The layering of DESIGN section 2, read from the project files.</summary>
public sealed class ProjectReferencesTests
{
    private static readonly Dictionary<string, string[]> s_allowed = new()
    {
        ["Protocol"] = [],
        ["Sandbox"] = ["Protocol"],
        ["SandboxHost"] = ["Protocol"],
        ["Broker"] = ["Protocol", "Sandbox"],
        ["Kernel"] = ["Protocol", "Sandbox", "SandboxHost", "Broker"],
    };

    [Fact]
    public void Projects_depend_on_each_other_only_as_the_design_allows()
    {
        var source = Path.Combine(Root(), "src");
        var projects = Directory.GetFiles(source, "*.csproj", SearchOption.AllDirectories);
        projects.Length.ShouldBe(s_allowed.Count, "every project under src stands in the table of DESIGN section 2");
        foreach (var project in projects)
        {
            var name = Path.GetFileName(Path.GetDirectoryName(project)!);
            s_allowed.ShouldContainKey(name);
            var references = XDocument.Load(project).Descendants("ProjectReference")
                .Select(r => Path.GetFileName(Path.GetDirectoryName(Path.GetFullPath(r.Attribute("Include")!.Value, Path.GetDirectoryName(project)!))!));
            references.Except(s_allowed[name]).ShouldBeEmpty($"{name} must not use these");
        }
    }

    [Fact]
    public void The_kernel_names_the_embedded_host_and_the_broker_daemon_only_where_it_composes()
    {
        var kernel = Path.Combine(Root(), "src", "Kernel");
        var elsewhere = Directory.GetFiles(kernel, "*.cs", SearchOption.AllDirectories)
            .Where(f => !f.Contains("/obj/") && !f.Contains("/bin/") && !f.StartsWith(Path.Combine(kernel, "Commands"), StringComparison.Ordinal))
            .Where(f => File.ReadAllText(f).Contains("InterpreterKernel.SandboxHost", StringComparison.Ordinal))
            .Select(f => Path.GetRelativePath(kernel, f));
        elsewhere.ShouldBeEmpty();
    }

    private static string Root()
    {
        var directory = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(directory, "InterpreterKernel.sln")))
        {
            directory = Path.GetDirectoryName(directory) ?? throw new InvalidOperationException("The tests do not run inside the repository.");
        }

        return directory;
    }
}
