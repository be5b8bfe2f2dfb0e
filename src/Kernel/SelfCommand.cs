namespace InterpreterKernel.Kernel;

/// <summary>How this program is started again: by the kernelspec, and for the broker.</summary>
internal static class SelfCommand
{
    /// <summary>Its own file, absolute; or <c>dotnet</c> with the assembly where there is no such file.</summary>
    public static IReadOnlyList<string> Get()
    {
        var process = Environment.ProcessPath ?? "interpreter-kernel";
        if (Path.GetFileNameWithoutExtension(process) is not "dotnet")
        {
            return [process];
        }

        var host = Path.Combine(AppContext.BaseDirectory, OperatingSystem.IsWindows() ? "interpreter-kernel.exe" : "interpreter-kernel");
        return File.Exists(host) ? [host] : [process, Path.Combine(AppContext.BaseDirectory, "interpreter-kernel.dll")];
    }
}
