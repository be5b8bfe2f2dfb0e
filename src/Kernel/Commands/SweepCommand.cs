using System.CommandLine;
using InterpreterKernel.Broker;
using InterpreterKernel.Kernel.Lifecycle;
using InterpreterKernel.SandboxHost;

namespace InterpreterKernel.Kernel.Commands;

/// <summary><c>sweep</c>: removes what a killed broker's embedded host left. Brokers do it when they start, the watchdog when one dies.</summary>
internal static class SweepCommand
{
    /// <summary>The command.</summary>
    public static Command Create()
    {
        var command = new Command("sweep", "Remove what a killed broker left on this machine.");
        var quiet = new Option<bool>("--quiet") { Description = "say nothing when there was nothing" };
        command.Options.Add(quiet);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var directory = RuntimeDirectory.Open();
            var removed = 0;
            foreach (var state in Directory.GetDirectories(directory.Path, "serve-*").Append(Path.Combine(directory.Path, "host")))
            {
                removed += await SandboxHostApp.SweepAsync(state, cancellationToken).ConfigureAwait(false);
            }

            if (removed > 0 || !parsed.GetValue(quiet))
            {
                Console.WriteLine(removed == 1 ? "Removed 1 sandbox that a dead host left." : $"Removed {removed} sandboxes that dead hosts left.");
            }

            return ExitCodes.Success;
        });
        return command;
    }
}
