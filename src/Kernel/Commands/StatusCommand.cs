using System.CommandLine;
using System.Text.Json;
using InterpreterKernel.Broker;
using InterpreterKernel.Kernel.Lifecycle;

namespace InterpreterKernel.Kernel.Commands;

/// <summary><c>status</c>: slots, queue and claims of this user's broker.</summary>
internal static class StatusCommand
{
    /// <summary>The command.</summary>
    public static Command Create()
    {
        var command = new Command("status", "Show slots, queue and claims.");
        var json = new Option<bool>("--json") { Description = "as JSON" };
        command.Options.Add(json);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var status = await AskAsync(c => c.StatusAsync(cancellationToken)).ConfigureAwait(false);
            if (parsed.GetValue(json))
            {
                Console.WriteLine(JsonSerializer.Serialize(status ?? new BrokerStatus(), BrokerJson.Default.BrokerStatus));
            }
            else if (status is null)
            {
                Console.WriteLine("No broker runs, so no sandbox is held.");
            }
            else
            {
                Print(status);
            }

            return ExitCodes.Success;
        });
        return command;
    }

    /// <summary>Asks the broker; null when none runs, which is no fault: it runs while it is needed.</summary>
    /// <exception cref="BrokerException">A broker runs and does not answer as it should.</exception>
    public static async Task<T?> AskAsync<T>(Func<BrokerClient, Task<T>> ask)
        where T : class
    {
        using var client = new BrokerClient(RuntimeDirectory.Open());
        try
        {
            return await ask(client).ConfigureAwait(false);
        }
        catch (BrokerException e) when (e.Fault == BrokerFault.Unreachable)
        {
            return null;
        }
    }

    private static void Print(BrokerStatus status)
    {
        Console.WriteLine($"{status.Used} of {status.Limit?.ToString(System.Globalization.CultureInfo.InvariantCulture) ?? "any number of"} sandboxes in use, {status.Queued} waiting, {status.Spares} spare");
        foreach (var claim in status.Claims)
        {
            var place = claim.Position is { } position ? $" (place {position})" : "";
            Console.WriteLine($"  {claim.Sandbox ?? claim.Id,-24} {claim.State + place,-18} since {claim.Since.ToLocalTime():HH:mm:ss}  pid {claim.Pid}  {claim.Label}");
            if (claim.Trouble is { } trouble)
            {
                Console.WriteLine($"    {trouble}");
            }
        }
    }
}
