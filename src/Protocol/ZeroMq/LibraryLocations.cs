namespace InterpreterKernel.Protocol.ZeroMq;

/// <summary>
/// Where libzmq may be, the likeliest first: what the system's loader knows (Debian, Fedora), beside our program,
/// Conda, Homebrew, and last the private copy inside a pyzmq wheel, which every pip-installed Jupyter has.
/// </summary>
internal static class LibraryLocations
{
    private static readonly string[] s_names = OperatingSystem.IsMacOS() ? ["libzmq.5.dylib", "libzmq.dylib"] : ["libzmq.so.5", "libzmq.so"];

    private static readonly string[] s_directories =
        ["/opt/homebrew/lib", "/usr/local/lib", "/home/linuxbrew/.linuxbrew/lib", "/usr/lib64", "/usr/local/lib64"];

    internal static IEnumerable<string> All(Func<string, string?> environment)
    {
        foreach (var name in s_names)
        {
            yield return name;
        }

        foreach (var name in s_names)
        {
            yield return Path.Combine(AppContext.BaseDirectory, name);
        }

        var prefixes = PythonPrefixes(environment).Distinct(StringComparer.Ordinal).ToList();
        foreach (var directory in prefixes.Select(p => Path.Combine(p, "lib")).Concat(s_directories))
        {
            foreach (var name in s_names)
            {
                yield return Path.Combine(directory, name);
            }
        }

        foreach (var prefix in prefixes)
        {
            foreach (var file in InWheel(prefix))
            {
                yield return file;
            }
        }
    }

    /// <summary>Copies inside pyzmq wheels of the Python installed under <paramref name="prefix"/>.</summary>
    internal static IEnumerable<string> InWheel(string prefix)
    {
        foreach (var library in new[] { "lib", "lib64" })
        {
            foreach (var python in Matches(Path.Combine(prefix, library), "python3*", Directory.EnumerateDirectories))
            {
                foreach (var site in new[] { "site-packages", "dist-packages" })
                {
                    var packages = Path.Combine(python, site);
                    var files = Matches(Path.Combine(packages, "pyzmq.libs"), "libzmq*.so*", Directory.EnumerateFiles)
                        .Concat(Matches(Path.Combine(packages, "zmq", ".dylibs"), "libzmq*.dylib", Directory.EnumerateFiles));
                    foreach (var file in files)
                    {
                        yield return file;
                    }
                }
            }
        }
    }

    private static IEnumerable<string> PythonPrefixes(Func<string, string?> environment)
    {
        foreach (var variable in new[] { "CONDA_PREFIX", "VIRTUAL_ENV" })
        {
            if (environment(variable) is { Length: > 0 } prefix)
            {
                yield return prefix;
            }
        }

        foreach (var directory in (environment("PATH") ?? "").Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries))
        {
            // A venv's python is a link to another; its prefix is where the link is, the other's where the link leads.
            var python = Path.Combine(directory, "python3");
            if (Path.IsPathRooted(directory) && File.Exists(python))
            {
                yield return Path.GetDirectoryName(Path.TrimEndingDirectorySeparator(directory)) ?? "/";
                if (TargetOf(python) is { } target)
                {
                    yield return Path.GetDirectoryName(Path.GetDirectoryName(target)) ?? "/";
                }
            }
        }

        if (environment("HOME") is { Length: > 0 } home)
        {
            yield return Path.Combine(home, ".local");
        }

        yield return "/usr/local";
        yield return "/usr";
    }

    private static string? TargetOf(string link)
    {
        try
        {
            return File.ResolveLinkTarget(link, returnFinalTarget: true)?.FullName;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    private static string[] Matches(string directory, string pattern, Func<string, string, IEnumerable<string>> list)
    {
        try
        {
            return Directory.Exists(directory) ? [.. list(directory, pattern)] : [];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }
}
