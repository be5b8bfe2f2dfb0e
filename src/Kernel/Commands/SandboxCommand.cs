using System.CommandLine;
using System.Text.Json;
using InterpreterKernel.Broker;
using InterpreterKernel.Kernel.Lifecycle;

namespace InterpreterKernel.Kernel.Commands;

/// <summary><c>sandbox list|info|kill</c>: the sandboxes that the broker holds.</summary>
internal static class SandboxCommand
{
    /// <summary>The commands.</summary>
    public static Command Create() => new("sandbox", "List, show and kill the sandboxes that kernels hold.") { List(), Info(), Kill() };

    private static Command List()
    {
        var command = new Command("list", "List them.");
        var json = new Option<bool>("--json") { Description = "as JSON" };
        command.Options.Add(json);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var sandboxes = await StatusCommand.AskAsync(c => c.SandboxesAsync(cancellationToken)).ConfigureAwait(false) ?? [];
            if (parsed.GetValue(json))
            {
                Console.WriteLine(JsonSerializer.Serialize(sandboxes, BrokerJson.Default.IReadOnlyListSandboxStatus));
                return ExitCodes.Success;
            }

            foreach (var sandbox in sandboxes)
            {
                Print(sandbox);
            }

            return ExitCodes.Success;
        });
        return command;
    }

    private static Command Info()
    {
        var command = new Command("info", "Show one.");
        var id = new Argument<string>("id") { Description = "its id" };
        var json = new Option<bool>("--json") { Description = "as JSON" };
        command.Arguments.Add(id);
        command.Options.Add(json);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var all = await StatusCommand.AskAsync(c => c.SandboxesAsync(cancellationToken)).ConfigureAwait(false) ?? [];
            if (all.FirstOrDefault(s => s.Id == parsed.GetValue(id)) is not { } sandbox)
            {
                return NoSuch(parsed.GetValue(id)!);
            }

            if (parsed.GetValue(json))
            {
                Console.WriteLine(JsonSerializer.Serialize(sandbox, BrokerJson.Default.SandboxStatus));
            }
            else
            {
                Print(sandbox);
            }

            return ExitCodes.Success;
        });
        return command;
    }

    private static Command Kill()
    {
        var command = new Command("kill", "Kill some; returns when their slots are free.");
        var ids = new Argument<string[]>("id") { Description = "their ids", Arity = ArgumentArity.OneOrMore };
        command.Arguments.Add(ids);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var code = ExitCodes.Success;
            foreach (var id in parsed.GetValue(ids)!)
            {
                var killed = await StatusCommand.AskAsync(async c => await c.KillSandboxAsync(id, cancellationToken).ConfigureAwait(false) ? id : null!).ConfigureAwait(false);
                if (killed is null)
                {
                    code = NoSuch(id);
                }
                else
                {
                    Console.WriteLine($"Killed {id}");
                }
            }

            return code;
        });
        return command;
    }

    private static int NoSuch(string id)
    {
        Console.Error.WriteLine($"interpreter-kernel: no kernel holds a sandbox {id}; interpreter-kernel sandbox list shows those that are held.");
        return ExitCodes.Failure;
    }

    private static void Print(SandboxStatus sandbox) => Console.WriteLine(
        $"{sandbox.Id}  {sandbox.State,-9} {sandbox.Template}  started {sandbox.Started?.ToLocalTime():HH:mm:ss}  claim {sandbox.Claim}  on {sandbox.Service ?? "embedded"}");
}
