using InterpreterKernel.Kernel.Lifecycle;

namespace InterpreterKernel.Kernel.Tests.Lifecycle;

public sealed class DiagnosticFilesTests
{
    [Fact]
    public void Only_what_the_runtime_of_that_process_put_there_is_removed()
    {
        var directory = Directory.CreateTempSubdirectory("ik-diagnostic-");
        try
        {
            string[] ours = ["clr-debug-pipe-41-99-in", "clr-debug-pipe-41-99-out", "dotnet-diagnostic-41-99-socket"];
            string[] others = ["clr-debug-pipe-411-99-in", "dotnet-diagnostic-4-41-socket", "notes-41-.txt"];
            foreach (var name in ours.Concat(others))
            {
                File.WriteAllText(Path.Combine(directory.FullName, name), "");
            }

            DiagnosticFiles.Remove(directory.FullName, 41);
            directory.EnumerateFiles().Select(file => file.Name).ShouldBe(others, ignoreOrder: true);
        }
        finally
        {
            directory.Delete(recursive: true);
        }
    }

    [Fact]
    public void A_directory_that_is_not_there_is_no_problem() =>
        Should.NotThrow(() => DiagnosticFiles.Remove("/nowhere-" + Guid.NewGuid().ToString("N"), 41));
}
