using System.CommandLine;
using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Text.Json.Serialization;
using InterpreterKernel.Broker;
using InterpreterKernel.Kernel.Configuration;
using InterpreterKernel.Kernel.Lifecycle;
using InterpreterKernel.Protocol.ZeroMq;
using InterpreterKernel.SandboxHost;

namespace InterpreterKernel.Kernel.Commands;

/// <summary><c>doctor</c>: looks at all that a kernel needs on this machine, one line a check, with the mend.</summary>
internal static class DoctorCommand
{
    /// <summary>The command.</summary>
    public static Command Create()
    {
        var command = new Command("doctor", "Check what the kernel needs on this machine; says how to mend what is missing.");
        var json = new Option<bool>("--json") { Description = "as JSON" };
        command.Options.Add(json);
        var options = new SettingOptions(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var checks = await ChecksAsync(options.Given(parsed), cancellationToken).ToListAsync(cancellationToken).ConfigureAwait(false);
            if (parsed.GetValue(json))
            {
                Console.WriteLine(JsonSerializer.Serialize(checks, DoctorJson.Default.ListDoctorCheck));
            }
            else
            {
                DoctorReport.Write(checks, Console.Out);
            }

            return checks.Exists(c => c is { Ok: false, Required: true }) ? ExitCodes.Failure : ExitCodes.Success;
        });
        return command;
    }

    private static async IAsyncEnumerable<DoctorCheck> ChecksAsync(
        IReadOnlyDictionary<string, string> given, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var settings = SettingsReader.Read(given, Environment.GetEnvironmentVariable, SettingsReader.UserFile(), out var faults);
        yield return faults.Count == 0
            ? new DoctorCheck("configuration", true, true, File.Exists(SettingsReader.UserFile()) ? SettingsReader.UserFile() : "defaults", null)
            : new DoctorCheck("configuration", false, true, string.Join(" ", faults), "Correct the keys named here.");
        yield return Libzmq();
        var directory = Runtime(out var check);
        yield return check;
        if (directory is null)
        {
            yield break;
        }

        var service = ConfiguredService.Read(Environment.GetEnvironmentVariable, out var fault);
        if (fault is not null)
        {
            yield return new DoctorCheck("service", false, true, fault, "Correct the variables named here.");
        }
        else if (service is not null)
        {
            // Cells run there, so that nothing of this machine's own sandboxes is needed.
            await foreach (var found in ServiceProbe.RunAsync(service with { RequestTimeout = settings.RequestTimeout }, settings, cancellationToken).ConfigureAwait(false))
            {
                yield return found;
            }
        }
        else
        {
            foreach (var local in EmbeddedChecks(directory, settings))
            {
                yield return local;
            }
        }

        yield return Kernelspec();
    }

    private static IEnumerable<DoctorCheck> EmbeddedChecks(RuntimeDirectory directory, Settings settings)
    {
        var python = EmbeddedPython.Find(settings, out var tried);
        yield return python is not null
            ? new DoctorCheck("python", true, true, $"{python.Path} with ipykernel {python.Ipykernel}", null)
            : new DoctorCheck("python", false, settings.RootFilesystem is null, "none with ipykernel", EmbeddedHost.NoPython(tried));
        foreach (var host in SandboxHostApp.Check(EmbeddedHost.Options(directory, settings, python?.Path)))
        {
            yield return new DoctorCheck(host.Name, host.Ok, host.Required, host.Detail, host.Mend);
        }
    }

    private static DoctorCheck Libzmq()
    {
        try
        {
            return new DoctorCheck("libzmq", true, true, $"{ZeroMqLibrary.Version} ({ZeroMqLibrary.Location})", null);
        }
        catch (Exception e) when (e is DllNotFoundException or ZeroMqException)
        {
            return new DoctorCheck("libzmq", false, true, "not found", e.Message);
        }
    }

    private static RuntimeDirectory? Runtime(out DoctorCheck check)
    {
        try
        {
            var directory = RuntimeDirectory.Open();
            check = new DoctorCheck("runtime directory", true, true, directory.Path, null);
            return directory;
        }
        catch (Exception e) when (e is BrokerException or IOException or UnauthorizedAccessException)
        {
            check = new DoctorCheck("runtime directory", false, true, e.Message, $"Set {RuntimeDirectory.Variable} to a directory of yours.");
            return null;
        }
    }

    private static DoctorCheck Kernelspec()
    {
        var installed = JupyterPaths.DataDirectories()
            .Select(d => Path.Combine(d, "kernels"))
            .Where(Directory.Exists)
            .SelectMany(Directory.GetDirectories)
            .FirstOrDefault(InstallCommand.IsOurs);
        return installed is not null
            ? new DoctorCheck("kernelspec", true, false, installed, null)
            : new DoctorCheck("kernelspec", false, false, "not installed", "interpreter-kernel install");
    }
}

/// <summary>One thing that was looked at.</summary>
/// <param name="Name">What.</param>
/// <param name="Ok">Whether it is as it should be.</param>
/// <param name="Required">Whether cells can't run without it.</param>
/// <param name="Detail">What was found.</param>
/// <param name="Mend">What to do, when it is not ok.</param>
internal sealed record DoctorCheck(string Name, bool Ok, bool Required, string Detail, string? Mend);

/// <summary>Source-generated JSON of the doctor's answer.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true)]
[JsonSerializable(typeof(List<DoctorCheck>))]
internal sealed partial class DoctorJson : JsonSerializerContext;
