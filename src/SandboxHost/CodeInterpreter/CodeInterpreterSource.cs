namespace InterpreterKernel.SandboxHost.CodeInterpreter;

/// <summary>The texts of the code interpreter's program, which this assembly carries.</summary>
internal static class CodeInterpreterSource
{
    internal const string Main = "interpreter.py";

    internal static IReadOnlyList<string> Files { get; } = [Main, "contexts.py", "kernels.py"];

    internal static string Read(string file)
    {
        using var stream = typeof(CodeInterpreterSource).Assembly.GetManifestResourceStream("CodeInterpreter/" + file)
            ?? throw new InvalidOperationException(file + " is not in the assembly");
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }
}
