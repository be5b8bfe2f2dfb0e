namespace InterpreterKernel.Kernel.Commands;

/// <summary>The doctor's findings for people: what was looked at, why it matters where it is missing, and what to do next.</summary>
internal static class DoctorReport
{
    /// <summary>Writes it.</summary>
    public static void Write(IReadOnlyList<DoctorCheck> checks, TextWriter output)
    {
        var width = checks.Max(c => c.Name.Length);
        foreach (var check in checks)
        {
            output.WriteLine($"{Word(check)}  {check.Name.PadRight(width)}  {check.Detail}");
        }

        DoctorCheck[] missing = [.. checks.Where(c => !c.Ok && c.Required)];
        DoctorCheck[] absent = [.. checks.Where(c => !c.Ok && !c.Required)];
        output.WriteLine();
        if (missing.Length > 0)
        {
            output.WriteLine("Cells can't run yet. To mend it:");
            List(missing, output);
            output.WriteLine("Then run doctor again.");
        }

        if (absent.Length > 0)
        {
            output.WriteLine(missing.Length > 0 ? "Also absent, but cells run without it:" : "Cells can run. Absent, and needed only for what it says:");
            List(absent, output);
        }

        if (missing.Length == 0)
        {
            output.WriteLine(checks.Any(c => c is { Name: "kernelspec", Ok: false })
                ? "Next: interpreter-kernel install, then jupyter lab."
                : "All that is required is here. Next: jupyter lab, and choose \"Python (sandbox)\"; docs/tutorial.md goes on from there.");
        }
    }

    private static void List(DoctorCheck[] checks, TextWriter output)
    {
        for (var i = 0; i < checks.Length; i++)
        {
            var why = WhyOf(checks[i].Name);
            output.WriteLine($"  {i + 1}. {checks[i].Name}{(why is null ? "" : $": {why}")}");
            if (checks[i].Mend is { } mend)
            {
                output.WriteLine($"     {mend.Replace("\n", "\n     ", StringComparison.Ordinal)}");
            }
        }
    }

    private static string Word(DoctorCheck check) => check.Ok ? "ok     " : check.Required ? "MISSING" : "absent ";

    private static string? WhyOf(string check) => check switch
    {
        "configuration" => "settings that can't be read are not guessed",
        "libzmq" => "Jupyter's messages come by ZeroMQ",
        "runtime directory" => "kernels and broker of one user meet there",
        "python" => "the kernel inside the sandbox is this Python's ipykernel",
        "OCI runtime" => "it makes the sandboxes",
        "user namespaces" => "the users of a sandbox are nobody outside of it",
        "seccomp" => "it keeps system calls that no notebook needs out of the kernel",
        "kernelspec" => "by it Jupyter finds this kernel",
        _ when check.StartsWith("limit on", StringComparison.Ordinal) => "a sandbox must not take all of this machine",
        _ => null,
    };
}
