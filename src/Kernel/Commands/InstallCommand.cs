using System.CommandLine;
using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text.Json;
using InterpreterKernel.Kernel.Configuration;
using InterpreterKernel.Kernel.Lifecycle;

namespace InterpreterKernel.Kernel.Commands;

/// <summary><c>install</c> and <c>uninstall</c>: the kernelspec by which Jupyter clients find us (jupyter-wire.md section 1.3).</summary>
internal static class InstallCommand
{
    private const string DefaultName = "sandbox-python";
    private static readonly string[] s_logos = ["logo-32x32.png", "logo-64x64.png", "logo-svg.svg"];

    /// <summary>The command that writes the kernelspec.</summary>
    public static Command Create()
    {
        var command = new Command("install", "Write the kernelspec, so that JupyterLab, VS Code and nbconvert offer this kernel.");
        var place = new PlaceOptions(command);
        var displayName = new Option<string?>("--display-name") { Description = "name shown in pickers (Python (sandbox))" };
        command.Options.Add(displayName);
        var settings = new SettingOptions(command);
        command.SetAction(parsed =>
        {
            // Kept in the kernelspec is what was given here; the file and the environment go on to apply at each start.
            var given = settings.Given(parsed);
            if (SettingOptions.Read(given) is not { } effective || place.Resolve(parsed) is not { } place_)
            {
                return ExitCodes.Usage;
            }

            var spec = FindSpec(effective.Kernel, effective.RootFilesystem);
            Write(place_.Directory, parsed.GetValue(displayName), given, effective.Kernel, spec);
            Console.WriteLine($"Installed kernelspec {place_.Name} in {place_.Directory}");
            Console.Error.WriteLine(
                $"""
                Next:
                  jupyter lab                  and choose "{parsed.GetValue(displayName) ?? DisplayName(spec, Language(spec, effective.Kernel))}" in the launcher, or by Kernel, Change Kernel
                  jupyter nbconvert --to notebook --execute NOTEBOOK.ipynb --ExecutePreprocessor.kernel_name={place_.Name}
                  interpreter-kernel doctor    if something does not work
                """);
            return ExitCodes.Success;
        });
        return command;
    }

    /// <summary>The command that removes the kernelspec.</summary>
    public static Command CreateUninstall()
    {
        var command = new Command("uninstall", "Remove the kernelspec that install wrote.");
        var place = new PlaceOptions(command);
        command.SetAction(parsed =>
        {
            if (place.Resolve(parsed) is not { } place_)
            {
                return ExitCodes.Usage;
            }

            if (!IsOurs(place_.Directory))
            {
                Console.Error.WriteLine($"interpreter-kernel: {place_.Directory} holds no kernelspec of ours; nothing was removed.");
                return ExitCodes.Failure;
            }

            Directory.Delete(place_.Directory, recursive: true);
            Console.WriteLine($"Removed {place_.Directory}");
            return ExitCodes.Success;
        });
        return command;
    }

    private static void Write(
        string directory, string? displayName, IReadOnlyDictionary<string, string> given, string kernel, JsonElement? remoteSpec)
    {
        Directory.CreateDirectory(directory);
        using (var file = File.Create(Path.Combine(directory, "kernel.json")))
        using (var writer = new Utf8JsonWriter(file, new JsonWriterOptions { Indented = true }))
        {
            writer.WriteStartObject();
            writer.WriteStartArray("argv");
            foreach (var part in SelfCommand.Get().Concat(["kernel", "--connection-file", "{connection_file}"]))
            {
                writer.WriteStringValue(part);
            }

            foreach (var (name, text) in given)
            {
                writer.WriteStringValue(SettingKeys.All.First(k => k.Name == name).Option + "=" + text);
            }

            writer.WriteEndArray();
            var language = Language(remoteSpec, kernel);
            writer.WriteString("display_name", displayName ?? DisplayName(remoteSpec, language));
            writer.WriteString("language", language);
            writer.WriteString("interrupt_mode", "message");
            writer.WriteStartObject("env");

            // A runtime that is killed leaves its debugger's pipes in the temporary directory; without them there is nothing to leave.
            writer.WriteString("DOTNET_EnableDiagnostics", "0");
            if (DotnetRoot() is { } root)
            {
                writer.WriteString("DOTNET_ROOT", root);
            }

            writer.WriteEndObject();
            writer.WriteStartObject("metadata");

            // Without it JupyterLab hides the debugger's button (jupyter-wire.md section 3.3).
            writer.WriteBoolean("debugger", Debugger(remoteSpec) ?? language == "python");
            writer.WriteBoolean("interpreter_kernel", true);
            writer.WriteEndObject();
            writer.WriteEndObject();
        }

        foreach (var logo in s_logos)
        {
            using var resource = typeof(InstallCommand).Assembly.GetManifestResourceStream(logo);
            if (resource is not null)
            {
                using var file = File.Create(Path.Combine(directory, logo));
                resource.CopyTo(file);
            }
        }
    }

    private static string Language(JsonElement? spec, string kernel) =>
        Text(spec, "language") ?? (kernel.StartsWith("python", StringComparison.Ordinal) ? "python" : kernel);

    private static string DisplayName(JsonElement? spec, string language) =>
        language == "python" ? "Python (sandbox)" : $"{Text(spec, "display_name") ?? language} (sandbox)";

    private static string? Text(JsonElement? spec, string key) =>
        spec is { } s && s.TryGetProperty(key, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;

    private static bool? Debugger(JsonElement? spec) =>
        spec is { } s && s.TryGetProperty("metadata", out var m) && m.ValueKind == JsonValueKind.Object
        && m.TryGetProperty("debugger", out var d) && d.ValueKind is JsonValueKind.True or JsonValueKind.False
            ? d.GetBoolean()
            : null;

    /// <summary>
    /// The kernelspec of that name, in the root file system that sandboxes are made from or on this machine: what the embedded sandbox will
    /// start, and our best guess for a remote one.
    /// </summary>
    private static JsonElement? FindSpec(string kernel, string? rootFilesystem)
    {
        string[] inside = rootFilesystem is null
            ? []
            : [Path.Combine(rootFilesystem, "usr/local/share/jupyter"), Path.Combine(rootFilesystem, "usr/share/jupyter")];
        foreach (var root in inside.Concat(JupyterPaths.DataDirectories()))
        {
            var file = Path.Combine(root, "kernels", kernel, "kernel.json");
            try
            {
                if (File.Exists(file) && new FileInfo(file).Length < 1 << 20)
                {
                    var spec = JsonDocument.Parse(File.ReadAllBytes(file)).RootElement;
                    if (spec.ValueKind == JsonValueKind.Object)
                    {
                        return spec;
                    }
                }
            }
            catch (Exception e) when (e is JsonException or IOException or UnauthorizedAccessException)
            {
                Console.Error.WriteLine($"interpreter-kernel: {file} can't be read and was passed over: {e.Message}");
            }
        }

        return null;
    }

    /// <summary>Whether this folder holds a kernelspec that we wrote.</summary>
    public static bool IsOurs(string directory)
    {
        try
        {
            using var document = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(directory, "kernel.json")));
            return document.RootElement.TryGetProperty("metadata", out var m) && m.TryGetProperty("interpreter_kernel", out _);
        }
        catch (Exception e) when (e is JsonException or IOException or UnauthorizedAccessException or InvalidOperationException)
        {
            return false;
        }
    }

    /// <summary>Where .NET is, when our executable would not find it by itself.</summary>
    private static string? DotnetRoot()
    {
        var runtime = RuntimeEnvironment.GetRuntimeDirectory().TrimEnd(Path.DirectorySeparatorChar);
        var root = Path.GetFullPath(Path.Combine(runtime, "..", "..", ".."));
        if (!Directory.Exists(Path.Combine(root, "host", "fxr")))
        {
            return null;
        }

        string[] known = ["/usr/share/dotnet", "/usr/lib/dotnet", "/usr/local/share/dotnet"];
        return known.Contains(root) || Environment.GetEnvironmentVariable("DOTNET_ROOT") is null && known.Any(k => File.Exists(Path.Combine(k, "dotnet")))
            ? null
            : root;
    }

    /// <summary>The options that say where: as <c>jupyter kernelspec install</c> has them.</summary>
    private sealed class PlaceOptions
    {
        private readonly Option<string> _name = new("--name") { Description = $"name of the kernelspec ({DefaultName})", DefaultValueFactory = _ => DefaultName };
        private readonly Option<bool> _user = new("--user") { Description = "for this user (the default)" };
        private readonly Option<bool> _sysPrefix = new("--sys-prefix") { Description = "into the active virtual or conda environment" };
        private readonly Option<string?> _prefix = new("--prefix") { Description = "under this prefix: PREFIX/share/jupyter/kernels" };

        public PlaceOptions(Command command)
        {
            command.Options.Add(_name);
            command.Options.Add(_user);
            command.Options.Add(_sysPrefix);
            command.Options.Add(_prefix);
        }

        public (string Name, string Directory)? Resolve(ParseResult parsed)
        {
            var name = parsed.GetValue(_name)!;
            if (name.Length == 0 || !name.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '_' or '-') || name is "." or "..")
            {
                Console.Error.WriteLine($"interpreter-kernel: '{name}' can't name a kernelspec; letters, digits, '.', '_' and '-' can.");
                return null;
            }

            if ((parsed.GetValue(_user) ? 1 : 0) + (parsed.GetValue(_sysPrefix) ? 1 : 0) + (parsed.GetValue(_prefix) is null ? 0 : 1) > 1)
            {
                Console.Error.WriteLine("interpreter-kernel: --user, --sys-prefix and --prefix exclude each other.");
                return null;
            }

            string data;
            if (parsed.GetValue(_prefix) is { } prefix)
            {
                data = Path.Combine(Path.GetFullPath(prefix), "share", "jupyter");
            }
            else if (!parsed.GetValue(_sysPrefix))
            {
                data = JupyterPaths.UserDataDirectory();
            }
            else if (SysPrefix() is { } sysPrefix)
            {
                data = Path.Combine(sysPrefix, "share", "jupyter");
            }
            else
            {
                Console.Error.WriteLine("interpreter-kernel: no Python environment found for --sys-prefix; activate one, or give --prefix.");
                return null;
            }

            // Kernelspec names are compared without case (jupyter_client).
            return (name, Path.Combine(data, "kernels", name.ToLowerInvariant()));
        }

        private static string? SysPrefix()
        {
            foreach (var variable in new[] { "VIRTUAL_ENV", "CONDA_PREFIX" })
            {
                if (Environment.GetEnvironmentVariable(variable) is { Length: > 0 } active)
                {
                    return active;
                }
            }

            try
            {
                using var python = Process.Start(new ProcessStartInfo("python3", ["-c", "import sys; print(sys.prefix)"]) { RedirectStandardOutput = true });
                return python?.StandardOutput.ReadLine() is { Length: > 0 } line ? line : null;
            }
            catch (System.ComponentModel.Win32Exception)
            {
                return null;
            }
        }
    }
}
