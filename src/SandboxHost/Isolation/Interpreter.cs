using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace InterpreterKernel.SandboxHost.Isolation;

/// <summary>What a Python interpreter says about itself.</summary>
/// <param name="Executable">Its own path, after shims.</param>
/// <param name="Real">The same, with links resolved.</param>
/// <param name="Prefixes">Where its installation lies: venv and base prefixes.</param>
/// <param name="Version">Major and minor version.</param>
internal sealed record Interpreter(string Executable, string Real, IReadOnlyList<string> Prefixes, IReadOnlyList<int> Version)
{
    private const int MaxAnswer = 64 * 1024;

    private const string Question =
        """
        import sys, os, json
        real = os.path.realpath(sys.executable)
        print(json.dumps({"executable": sys.executable, "real": real, "version": list(sys.version_info[:2]),
            "prefixes": [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, os.path.dirname(os.path.dirname(real))]}))
        """;

    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(30);

    /// <summary>Asks <paramref name="path"/>.</summary>
    /// <exception cref="SandboxHostException">It is no Python that can be used.</exception>
    internal static async Task<Interpreter> AskAsync(string path, CancellationToken cancellation)
    {
        if (!Path.IsPathFullyQualified(path) || !File.Exists(path))
        {
            throw Unusable(path, "there is no such file");
        }

        var start = new ProcessStartInfo(path) { RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true };
        foreach (var argument in (string[])["-I", "-c", Question])
        {
            start.ArgumentList.Add(argument);
        }

        using var patience = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        patience.CancelAfter(s_patience);
        Process process;
        try
        {
            process = Process.Start(start)!;
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            throw Unusable(path, e.Message);
        }

        using (process)
        {
            try
            {
                process.StandardInput.Close();
                var errors = ReadBoundedAsync(process.StandardError, patience.Token);
                var answer = await ReadBoundedAsync(process.StandardOutput, patience.Token);
                await process.WaitForExitAsync(patience.Token);
                if (process.ExitCode != 0)
                {
                    throw Unusable(path, $"it ended with code {process.ExitCode}: {(await errors).Trim()}");
                }

                return JsonSerializer.Deserialize(answer, InterpreterJson.Default.Interpreter) is { Version.Count: 2, Prefixes: not null, Real: not null, Executable: not null } it
                    ? it
                    : throw Unusable(path, "it gave no answer");
            }
            catch (JsonException)
            {
                throw Unusable(path, "its answer was not that of a Python interpreter");
            }
            catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
            {
                throw Unusable(path, $"it did not answer within {s_patience.TotalSeconds:0} s");
            }
            finally
            {
                if (!process.HasExited)
                {
                    process.Kill(entireProcessTree: true);
                }
            }
        }
    }

    private static async Task<string> ReadBoundedAsync(StreamReader reader, CancellationToken cancellation)
    {
        var buffer = new char[MaxAnswer];
        var count = await reader.ReadBlockAsync(buffer, cancellation);
        return new string(buffer, 0, count);
    }

    private static SandboxHostException Unusable(string path, string why) =>
        new(SandboxHostFault.Template, $"the Python interpreter {path} can't be used for sandboxes: {why}");
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(Interpreter))]
internal sealed partial class InterpreterJson : JsonSerializerContext;
