using System.CommandLine;
using InterpreterKernel.Broker;
using InterpreterKernel.SandboxHost;

namespace InterpreterKernel.Kernel.Commands;

/// <summary><c>broker</c>: the daemon that grants sandboxes, one per user. Kernels start it when none runs.</summary>
internal static class BrokerCommand
{
    /// <summary>The command.</summary>
    public static Command Create()
    {
        var command = new Command("broker", "Grant sandboxes to kernels: one per user, started by kernels when needed.");
        var idle = new Option<string>("--idle-exit") { Description = "leave after so long without a claim (10m)", DefaultValueFactory = _ => "10m" };
        command.Options.Add(idle);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            if (!Configuration.Duration.TryParse(parsed.GetValue(idle)!, out var idleExit))
            {
                await Console.Error.WriteLineAsync("interpreter-kernel: --idle-exit takes a duration such as 10m.").ConfigureAwait(false);
                return Lifecycle.ExitCodes.Usage;
            }

            var directory = RuntimeDirectory.Open();
            using var loggers = new StderrLoggerFactory();
            await using var host = new EmbeddedHost(directory, loggers);
            var options = new BrokerOptions
            {
                Directory = directory,
                IdleExit = idleExit,
                Version = typeof(BrokerCommand).Assembly.GetName().Version?.ToString(3) ?? "",
                EmbeddedHost = host.StartAsync,
                StopEmbeddedHost = host.DisposeAsync,
                Spares = Remote.SpareKernels.Options,
                SweepEmbedded = token => SandboxHostApp.SweepAsync(Path.Combine(directory.Path, "host"), token),
            };
            return await BrokerApp.RunAsync(options, loggers, cancellationToken).ConfigureAwait(false);
        });
        return command;
    }
}
