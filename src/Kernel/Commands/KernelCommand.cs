using System.CommandLine;
using System.Runtime.InteropServices;
using InterpreterKernel.Kernel.Configuration;
using InterpreterKernel.Kernel.Jupyter;
using InterpreterKernel.Kernel.Lifecycle;
using InterpreterKernel.Kernel.Remote;
using InterpreterKernel.Protocol.Jupyter;
using InterpreterKernel.Protocol.ZeroMq;

namespace InterpreterKernel.Kernel.Commands;

/// <summary><c>kernel</c>: what kernel.json runs. Serves one notebook until its end.</summary>
internal static class KernelCommand
{
    /// <summary>The command.</summary>
    public static Command Create()
    {
        var command = new Command("kernel", "Serve one notebook. Jupyter runs this; its kernelspec is written by install.")
        {
            // nbclient and papermill add an argument to kernels of some names, consoles pass on what they don't know.
            TreatUnmatchedTokensAsErrors = false,
        };
        var file = new Option<string?>("--connection-file", "-f", "--f") { Description = "the connection file Jupyter wrote" };
        command.Options.Add(file);
        var settings = new SettingOptions(command);
        command.SetAction(async (parsed, _) =>
        {
            if (parsed.GetValue(file) is { } path)
            {
                return await RunAsync(path, settings.Given(parsed)).ConfigureAwait(false);
            }

            Console.Error.WriteLine("interpreter-kernel: kernel needs the connection file that Jupyter writes: interpreter-kernel kernel -f FILE");
            return ExitCodes.Usage;
        });
        return command;
    }

    private static async Task<int> RunAsync(string path, IReadOnlyDictionary<string, string> given)
    {
        var log = new KernelLog(Console.Error, verbose: Environment.GetEnvironmentVariable("INTERPRETER_KERNEL_LOG") == "debug");
        var time = TimeProvider.System;
        Rehearsal.Start(time, log);
        try
        {
            // 1. The sockets are bound before anything else: clients queue there while we get ready.
            var file = ConnectionFile.Load(path);
            Bridge? bridge = null;
            using var ready = new ManualResetEventSlim();
            await using var sockets = JupyterSockets.Bind(
                file,
                new JupyterSocketsOptions(),
                (channel, message) =>
                {
                    ready.Wait();
                    bridge!.OnClientMessage(channel, message);
                },
                log.Warning);
            DiagnosticFiles.Remove();

            // 2. The settings. With a fault in them the kernel still serves, and says in the first cell what is wrong.
            var settings = SettingsReader.Read(given, Environment.GetEnvironmentVariable, SettingsReader.UserFile(), out var faults);
            var service = ConfiguredService.Read(Environment.GetEnvironmentVariable, out var serviceFault);
            string[] wrong = serviceFault is null ? [.. faults] : [.. faults, serviceFault];
            var session = Guid.NewGuid().ToString();
            var remotes = new RemoteKernels(settings, service, ClaimKey(path, file), Environment.GetEnvironmentVariable("JPY_SESSION_NAME") ?? path, session, time, log);
            RemoteConnector connect = wrong.Length == 0
                ? remotes.ConnectAsync
                : (_, _) => throw new RemoteUnavailableException("ConfigurationError", string.Join("\n", wrong));

            // 3. The bridge between the two ends.
            var kept = KernelInfoCache.Open(CacheDirectory(), remotes.Identity, log);
            await using var running = bridge = new Bridge(
                sockets, connect, kept, new Answers(new KernelMessages(session, "kernel", time)), settings, time, log);
            ready.Set();

            // 4. What ends or interrupts it from outside.
            using var outside = OutsideEvents.Listen(bridge.OnInterrupt, bridge.OnTerminate);
            using var parent = ParentWatch.Start(time);
            _ = EndWithParentAsync(parent, bridge);
            _ = EndWithSocketsAsync(sockets, bridge);

            // 5. The broker is started while the client still connects; the sandbox is claimed when a request needs it.
            remotes.PrepareInBackground();
            var end = await bridge.RunAsync().ConfigureAwait(false);
            await sockets.FlushAsync(TimeSpan.FromSeconds(1)).ConfigureAwait(false);
            log.Debug(end.Message);
            if (end.ExitCode is not (ExitCodes.Success or ExitCodes.Terminated))
            {
                log.Warning(end.Message);
            }

            return end.ExitCode;
        }
        catch (Exception e) when (e is ConnectionFileException or ZeroMqException or JupyterBindException or DllNotFoundException)
        {
            log.Warning(e.Message);
            return ExitCodes.CannotServe;
        }
    }

    private static async Task EndWithParentAsync(ParentWatch parent, Bridge bridge)
    {
        var pid = await parent.Gone.ConfigureAwait(false);
        bridge.End(new BridgeEnd(EndReason.ParentGone, $"The program that started this kernel (pid {pid}) is gone; the sandbox was given up."));
    }

    private static async Task EndWithSocketsAsync(JupyterSockets sockets, Bridge bridge)
    {
        await sockets.Completion.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        bridge.End(new BridgeEnd(EndReason.InternalError, "The kernel's sockets failed: " + (sockets.Completion.Exception?.InnerException?.Message ?? "closed")));
    }

    /// <summary>Names this connection without telling its key: the next process after a restart has the same file and key.</summary>
    private static string ClaimKey(string path, ConnectionFile file) =>
        Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(
            System.Text.Encoding.UTF8.GetBytes($"{Path.GetFullPath(path)}\n{file.Key}\n{file.ShellPort}")).AsSpan(0, 20));

    private static string? CacheDirectory()
    {
        if (Environment.GetEnvironmentVariable("INTERPRETER_KERNEL_CACHE_DIR") is { Length: > 0 } set)
        {
            return set;
        }

        if (Environment.GetEnvironmentVariable("XDG_CACHE_HOME") is { Length: > 0 } xdg)
        {
            return Path.Combine(xdg, "interpreter-kernel");
        }

        var local = RuntimeInformation.IsOSPlatform(OSPlatform.Linux)
            ? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache")
            : Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData);
        return Path.IsPathRooted(local) ? Path.Combine(local, "interpreter-kernel") : null;
    }
}
