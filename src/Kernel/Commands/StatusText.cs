using System.Globalization;
using System.Text;
using InterpreterKernel.Broker;

namespace InterpreterKernel.Kernel.Commands;

/// <summary>The broker's status for a person.</summary>
internal static class StatusText
{
    private const int LongestMessage = 300;

    /// <summary>The text, without a line break at its end.</summary>
    public static string Of(BrokerStatus? status)
    {
        if (status is null)
        {
            return "No broker runs, so no sandbox is held.";
        }

        var text = new StringBuilder();
        var limit = status.Limit?.ToString(CultureInfo.InvariantCulture) ?? "any number of";
        text.Append(CultureInfo.InvariantCulture, $"{status.Used} of {limit} sandboxes in use, {status.Queued} waiting, {status.Spares} spare");
        foreach (var account in status.Accounts.Where(a => a.LearnedLimit is not null))
        {
            text.Append(CultureInfo.InvariantCulture, $"\n{account.Service} refused more than {account.LearnedLimit}; one claim at a time tries for more");
        }

        if (status.UnconfirmedKills > 0)
        {
            text.Append(CultureInfo.InvariantCulture, $"\n{status.UnconfirmedKills} kills were never confirmed; the lease of those sandboxes has ended since");
        }

        foreach (var claim in status.Claims)
        {
            var state = claim.Position is { } position ? $"{claim.State} (place {position})" : claim.State;
            text.Append(
                CultureInfo.InvariantCulture,
                $"\n  {claim.Sandbox ?? claim.Id,-24} {state,-18} since {claim.Since.ToLocalTime():HH:mm:ss}  pid {claim.Pid}  {OneLine(claim.Label)}");
            Detail(text, claim.Trouble);
        }

        if (status.Ended.Count > 0)
        {
            text.Append("\nLast ended:");
        }

        foreach (var end in status.Ended)
        {
            text.Append(CultureInfo.InvariantCulture, $"\n  {end.Sandbox ?? end.Id,-24} {end.Reason,-18} at {end.At.ToLocalTime():HH:mm:ss}  {OneLine(end.Label)}");
            Detail(text, end.Message);
        }

        return text.ToString();
    }

    private static void Detail(StringBuilder text, string? message)
    {
        if (message is { Length: > 0 })
        {
            text.Append("\n    ").Append(OneLine(message));
        }
    }

    // What comes from a notebook or a sandbox is not let loose on the terminal.
    private static string OneLine(string? text)
    {
        var line = string.Concat((text ?? "").Select(c => char.IsControl(c) ? ' ' : c));
        return line.Length <= LongestMessage ? line : line[..LongestMessage] + "…";
    }
}
