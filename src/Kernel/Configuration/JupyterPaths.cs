namespace InterpreterKernel.Kernel.Configuration;

/// <summary>Where Jupyter keeps kernelspecs (jupyter-wire.md section 1.5, after jupyter_core's paths.py).</summary>
internal static class JupyterPaths
{
    /// <summary>The user's data directory.</summary>
    public static string UserDataDirectory()
    {
        if (Environment.GetEnvironmentVariable("JUPYTER_DATA_DIR") is { Length: > 0 } set)
        {
            return set;
        }

        var home = Environment.GetFolderPath(Environment.SpecialFolder.UserProfile);
        if (OperatingSystem.IsMacOS())
        {
            return Path.Combine(home, "Library", "Jupyter");
        }

        if (OperatingSystem.IsWindows())
        {
            return Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.ApplicationData), "jupyter");
        }

        return Environment.GetEnvironmentVariable("XDG_DATA_HOME") is { Length: > 0 } xdg
            ? Path.Combine(xdg, "jupyter")
            : Path.Combine(home, ".local", "share", "jupyter");
    }

    /// <summary>Every data directory, first name wins.</summary>
    public static IEnumerable<string> DataDirectories()
    {
        foreach (var entry in (Environment.GetEnvironmentVariable("JUPYTER_PATH") ?? "").Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries))
        {
            yield return entry;
        }

        foreach (var variable in new[] { "VIRTUAL_ENV", "CONDA_PREFIX" })
        {
            if (Environment.GetEnvironmentVariable(variable) is { Length: > 0 } prefix)
            {
                yield return Path.Combine(prefix, "share", "jupyter");
            }
        }

        yield return UserDataDirectory();
        if (OperatingSystem.IsWindows())
        {
            yield return Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.CommonApplicationData), "jupyter");
        }
        else
        {
            yield return "/usr/local/share/jupyter";
            yield return "/usr/share/jupyter";
        }
    }
}
