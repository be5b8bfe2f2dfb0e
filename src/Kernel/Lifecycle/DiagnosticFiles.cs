namespace InterpreterKernel.Kernel.Lifecycle;

/// <summary>
/// The pipes and the socket that the runtime puts into the temporary directory for debuggers. A process that is killed leaves them there.
/// The kernelspec switches them off by its environment; for a client that ignores that (Polyglot, which also ends kernels by SIGKILL)
/// they are removed when the kernel starts. Nothing but a debugger of .NET would miss them.
/// </summary>
internal static class DiagnosticFiles
{
    /// <summary>Removes those of this process.</summary>
    public static void Remove()
    {
        if (!OperatingSystem.IsWindows() && Environment.GetEnvironmentVariable("DOTNET_EnableDiagnostics") != "0")
        {
            Remove(Path.GetTempPath(), Environment.ProcessId);
        }
    }

    /// <summary>Removes those of one process in a directory.</summary>
    internal static void Remove(string directory, int process)
    {
        foreach (var pattern in (string[])[$"clr-debug-pipe-{process}-*", $"dotnet-diagnostic-{process}-*"])
        {
            try
            {
                foreach (var file in Directory.EnumerateFiles(directory, pattern))
                {
                    File.Delete(file);
                }
            }
            catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
            {
                // What can't be removed now would have stayed anyway.
                return;
            }
        }
    }
}
