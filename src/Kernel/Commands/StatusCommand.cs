using System.CommandLine;
using System.Runtime.InteropServices;
using System.Text.Json;
using InterpreterKernel.Broker;
using InterpreterKernel.Kernel.Lifecycle;

namespace InterpreterKernel.Kernel.Commands;

/// <summary><c>status</c>: slots, queue, claims and the last ends of this user's broker.</summary>
internal static class StatusCommand
{
    private static readonly TimeSpan s_interval = TimeSpan.FromSeconds(1);

    /// <summary>The command.</summary>
    public static Command Create()
    {
        var command = new Command("status", "Show slots, queue, claims, and why the last ones ended.");
        var json = new Option<bool>("--json") { Description = "as JSON; with --watch, one line for each change" };
        var metrics = new Option<bool>("--metrics") { Description = "counts and durations since the broker started, in Prometheus' text format" };
        var watch = new Option<bool>("--watch") { Description = "go on showing it, every second, until Ctrl-C" };
        command.Options.Add(json);
        command.Options.Add(metrics);
        command.Options.Add(watch);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            if (parsed.GetValue(metrics))
            {
                Console.Write(await AskAsync(c => c.MetricsAsync(cancellationToken)).ConfigureAwait(false));
                return ExitCodes.Success;
            }

            Func<BrokerStatus?, string> show = parsed.GetValue(json) ? AsJson : StatusText.Of;
            if (parsed.GetValue(watch))
            {
                await WatchAsync(show, cancellationToken).ConfigureAwait(false);
            }
            else
            {
                Console.WriteLine(show(await AskAsync(c => c.StatusAsync(cancellationToken)).ConfigureAwait(false)));
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

    /// <summary>On a terminal the text stays in its place; into a pipe or file goes each change.</summary>
    private static async Task WatchAsync(Func<BrokerStatus?, string> show, CancellationToken outer)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(outer);
        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, context =>
        {
            context.Cancel = true;
            stop.Cancel();
        });
        var cancellationToken = stop.Token;
        string? last = null;
        using var timer = new PeriodicTimer(s_interval);
        try
        {
            do
            {
                var text = show(await AskAsync(c => c.StatusAsync(cancellationToken)).ConfigureAwait(false));
                if (text != last)
                {
                    Console.WriteLine(Console.IsOutputRedirected ? text : $"\e[H\e[2J{text}");
                    last = text;
                }
            }
            while (await timer.WaitForNextTickAsync(cancellationToken).ConfigureAwait(false));
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            // Ctrl-C is how it ends.
        }
    }

    private static string AsJson(BrokerStatus? status) => JsonSerializer.Serialize(status ?? new BrokerStatus(), BrokerJson.Default.BrokerStatus);
}
