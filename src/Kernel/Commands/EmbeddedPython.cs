using System.Diagnostics;
using InterpreterKernel.Kernel.Configuration;

namespace InterpreterKernel.Kernel.Commands;

/// <summary>Finds the interpreter that embedded sandboxes are made from: one that carries ipykernel and pyzmq.</summary>
internal static class EmbeddedPython
{
    private const string Probe = "import sys, ipykernel, zmq; print(sys.executable); print(ipykernel.__version__)";

    /// <summary>An interpreter and what it carries.</summary>
    /// <param name="Path">Its absolute path.</param>
    /// <param name="Ipykernel">The version of ipykernel.</param>
    internal sealed record Found(string Path, string Ipykernel);

    /// <summary>The configured interpreter, else the first of: the active environment's, PATH's, the system's that has ipykernel.</summary>
    /// <returns>Null, with what was tried in <paramref name="tried"/>, when none has it.</returns>
    public static Found? Find(Settings settings, out IReadOnlyList<string> tried)
    {
        string[] candidates = settings.Python is { } configured ? [configured] : [.. Candidates().Distinct()];
        tried = candidates;
        return candidates.Select(Ask).FirstOrDefault(f => f is not null);
    }

    private static IEnumerable<string> Candidates()
    {
        foreach (var variable in new[] { "VIRTUAL_ENV", "CONDA_PREFIX" })
        {
            if (Environment.GetEnvironmentVariable(variable) is { Length: > 0 } prefix)
            {
                yield return Path.Combine(prefix, "bin", "python3");
            }
        }

        foreach (var folder in (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries))
        {
            yield return Path.Combine(folder, "python3");
        }

        yield return "/usr/bin/python3";
        yield return "/usr/local/bin/python3";
    }

    private static Found? Ask(string python)
    {
        if (!File.Exists(python))
        {
            return null;
        }

        try
        {
            using var process = Process.Start(new ProcessStartInfo(python, ["-c", Probe]) { RedirectStandardOutput = true, RedirectStandardError = true })!;
            process.ErrorDataReceived += static (_, _) => { };
            process.BeginErrorReadLine();
            var (path, version) = (process.StandardOutput.ReadLine(), process.StandardOutput.ReadLine());
            process.WaitForExit();
            return process.ExitCode == 0 && path is not null && version is not null && Path.IsPathRooted(path) ? new Found(path, version) : null;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            // Not a program for this machine: the next candidate.
            return null;
        }
    }
}
