using System.CommandLine;
using System.Runtime.InteropServices;
using InterpreterKernel.Broker;
using InterpreterKernel.Kernel.Configuration;
using InterpreterKernel.Kernel.Lifecycle;
using InterpreterKernel.SandboxHost;

namespace InterpreterKernel.Kernel.Commands;

/// <summary><c>serve</c>: the embedded host alone, for any E2B SDK.</summary>
internal static class ServeCommand
{
    /// <summary>The command.</summary>
    public static Command Create()
    {
        var command = new Command("serve", "Serve sandboxes of this machine by E2B's protocols, for any E2B SDK.");
        var listen = new Option<string>("--listen") { Description = "address to listen on (http://127.0.0.1:3000)", DefaultValueFactory = _ => "http://127.0.0.1:3000" };
        var keyFile = new Option<string?>("--api-key-file") { Description = "file with the API key that callers must send; else E2B_API_KEY is it" };
        command.Options.Add(listen);
        command.Options.Add(keyFile);
        var options = new SettingOptions(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            if (options.Read(parsed) is not { } settings)
            {
                return ExitCodes.Usage;
            }

            if (!Uri.TryCreate(parsed.GetValue(listen), UriKind.Absolute, out var address) || !address.IsLoopback)
            {
                await Console.Error.WriteLineAsync("interpreter-kernel: --listen takes a loopback address such as http://127.0.0.1:3000; sandboxes of this machine are not offered to others.").ConfigureAwait(false);
                return ExitCodes.Usage;
            }

            if (ReadKey(parsed.GetValue(keyFile)) is not { Length: > 0 } key)
            {
                await Console.Error.WriteLineAsync("interpreter-kernel: serve needs an API key, because every user of this machine can connect to a port: --api-key-file FILE, or E2B_API_KEY.").ConfigureAwait(false);
                return ExitCodes.Usage;
            }

            return await ServeAsync(settings, address, key, cancellationToken).ConfigureAwait(false);
        });
        return command;
    }

    private static async Task<int> ServeAsync(Settings settings, Uri address, string key, CancellationToken cancellationToken)
    {
        var directory = RuntimeDirectory.Open();
        IReadOnlyList<string> tried = [];
        var python = settings.RootFilesystem is null ? EmbeddedPython.Find(settings, out tried) : null;
        if (settings.RootFilesystem is null && python is null)
        {
            await Console.Error.WriteLineAsync("interpreter-kernel: " + EmbeddedHost.NoPython(tried)).ConfigureAwait(false);
            return ExitCodes.Failure;
        }

        using var loggers = new StderrLoggerFactory();
        var ended = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, OnSignal);
        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, OnSignal);
        void OnSignal(PosixSignalContext context)
        {
            context.Cancel = true;
            ended.TrySetResult();
        }

        var state = Path.Combine(directory.Path, $"serve-{address.Port}");
        try
        {
            await using var app = await SandboxHostApp.StartAsync(
                EmbeddedHost.Options(directory, settings, python?.Path) with
                {
                    StateDirectory = state,
                    UnixSocket = null,
                    ListenUrl = address,
                    ApiKey = key,
                    Limit = settings.Limit,
                },
                loggers,
                cancellationToken).ConfigureAwait(false);
            Console.WriteLine($"Serving sandboxes on {app.Address}");
            await Console.Error.WriteLineAsync($"For an SDK: E2B_API_URL={app.Address} E2B_SANDBOX_URL={app.Address} E2B_API_KEY=(the key)").ConfigureAwait(false);
            await Task.WhenAny(ended.Task, app.Completion).ConfigureAwait(false);
            return ExitCodes.Success;
        }
        catch (SandboxHostException e)
        {
            await Console.Error.WriteLineAsync("interpreter-kernel: " + e.Message).ConfigureAwait(false);
            return ExitCodes.Failure;
        }
        finally
        {
            // Only when it is empty: a sandbox that would not go is what sweep is for.
            if (Directory.Exists(state) && !Directory.EnumerateFileSystemEntries(state).Any())
            {
                Directory.Delete(state);
            }
        }
    }

    private static string? ReadKey(string? file) =>
        (file is null ? Environment.GetEnvironmentVariable("E2B_API_KEY") : File.ReadAllText(file))?.Trim();
}
