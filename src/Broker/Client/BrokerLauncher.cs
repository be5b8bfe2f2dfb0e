using System.Diagnostics;
using System.Text;

namespace InterpreterKernel.Broker;

/// <summary>
/// Starts the broker when none answers, outside of our process tree, session and process group, so that neither a
/// terminal's end nor an editor's tree kill takes it along. Any number of processes may try at once: one of them launches,
/// the others wait for it; and should two brokers start all the same, the broker's own lock lets one serve.
/// </summary>
public sealed class BrokerLauncher
{
    private const int LogTail = 4096;
    private const long LargestLog = 1024 * 1024;

    // Descriptor 3 is the pipe back to us (LaunchSignal). setsid forks, and the broker's parent is gone at once.
    private const string Script = """
        log=$1; shift
        umask 077
        cd / || exit
        exec 3>&1 </dev/null >/dev/null 2>>"$log"
        exec setsid -f "$@"
        """;

    // The broker needs none of these, and keys have no business in a process that serves many.
    private static readonly string[] s_notInherited = ["E2B_API_KEY", "E2B_ACCESS_TOKEN", "E2B_API_URL", "E2B_SANDBOX_URL", "E2B_DOMAIN", "E2B_DEBUG", "JPY_PARENT_PID"];

    private readonly RuntimeDirectory _directory;
    private readonly IReadOnlyList<string> _command;
    private readonly TimeSpan _patience;
    private readonly TimeProvider _time;

    /// <summary>Makes a launcher.</summary>
    /// <param name="directory">Where the broker is met; it is given to the broker in its environment.</param>
    /// <param name="command">The program (absolute path) and its arguments. Null: this program with the argument <c>broker</c>.</param>
    /// <param name="patience">How long to wait until the broker serves. Default: 30 s.</param>
    /// <param name="time">The clock.</param>
    public BrokerLauncher(RuntimeDirectory directory, IReadOnlyList<string>? command = null, TimeSpan? patience = null, TimeProvider? time = null)
    {
        ArgumentNullException.ThrowIfNull(directory);
        _directory = directory;
        _command = command ?? OwnCommand();
        _patience = patience ?? TimeSpan.FromSeconds(30);
        _time = time ?? TimeProvider.System;
    }

    /// <summary>Returns once a broker answers.</summary>
    /// <exception cref="BrokerException">It did not start; the message carries the end of its log.</exception>
    public async Task EnsureRunningAsync(CancellationToken cancellation = default)
    {
        var started = _time.GetTimestamp();
        while (!await BrokerApp.AnswersAsync(_directory, cancellation))
        {
            if (FileLock.TryTake(_directory.LaunchLockPath) is { } taken)
            {
                using (taken)
                {
                    // Whoever had the lock before us may have brought it up. And what we launch may serve and be told to
                    // go before we look, or leave the field to one that is just going: then the loop begins again.
                    if (!await BrokerApp.AnswersAsync(_directory, cancellation))
                    {
                        await LaunchAsync(cancellation);
                    }
                }

                if (await BrokerApp.AnswersAsync(_directory, cancellation))
                {
                    return;
                }
            }

            if (_time.GetElapsedTime(started) > _patience + _patience)
            {
                throw NotStarted($"none has answered for {_time.GetElapsedTime(started).TotalSeconds:0} s, though it was launched here or by another process", 0);
            }

            await Task.Delay(TimeSpan.FromMilliseconds(20), _time, cancellation);
        }
    }

    private static IReadOnlyList<string> OwnCommand()
    {
        var program = Environment.ProcessPath ?? throw new BrokerException(BrokerFault.StartFailed, "The path of this program is not known, so that it cannot start a broker.");
        return Path.GetFileNameWithoutExtension(program) == "dotnet"
            ? [program, Path.GetFullPath(Environment.GetCommandLineArgs()[0]), "broker"]
            : [program, "broker"];
    }

    private async Task LaunchAsync(CancellationToken cancellation)
    {
        var logStart = PrepareLog();
        var start = new ProcessStartInfo("/bin/sh") { RedirectStandardOutput = true, UseShellExecute = false };
        foreach (var argument in (IEnumerable<string>)["-c", Script, "sh", _directory.LogPath, .. _command])
        {
            start.ArgumentList.Add(argument);
        }

        start.Environment[RuntimeDirectory.Variable] = _directory.Path;
        start.Environment[LaunchSignal.Variable] = "3";

        // A runtime that is killed leaves its debugger's pipes in the temporary directory; without them there is nothing to leave.
        start.Environment["DOTNET_EnableDiagnostics"] = "0";
        foreach (var name in s_notInherited)
        {
            start.Environment.Remove(name);
        }

        using var launched = Process.Start(start) ?? throw NotStarted("/bin/sh cannot be run", logStart);
        using var attempt = new Attempt(_patience, _time, cancellation);
        string? line;
        try
        {
            line = await launched.StandardOutput.ReadLineAsync(attempt.Token);
        }
        catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
        {
            throw NotStarted($"it does not serve after {_patience.TotalSeconds:0} s", logStart);
        }

        if (line != LaunchSignal.ReadyLine)
        {
            throw NotStarted("it ended at once", logStart);
        }
    }

    /// <summary>Keeps the log from growing for ever; answers where the next broker's lines begin.</summary>
    private long PrepareLog()
    {
        var log = new FileInfo(_directory.LogPath);
        if (!log.Exists)
        {
            return 0;
        }

        if (log.Length <= LargestLog)
        {
            return log.Length;
        }

        log.MoveTo(_directory.LogPath + ".old", overwrite: true);
        return 0;
    }

    private BrokerException NotStarted(string why, long logStart)
    {
        var said = ReadLog(logStart);
        return new BrokerException(
            BrokerFault.StartFailed,
            $"The broker did not start: {why}. "
                + (said.Length > 0 ? $"It said: {said}" : "It said nothing.")
                + $" No sandbox was started. Its log is {_directory.LogPath}; `interpreter-kernel doctor` looks for causes.");
    }

    private string ReadLog(long from)
    {
        try
        {
            using var log = new FileStream(_directory.LogPath, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            log.Position = Math.Max(from, log.Length - LogTail);
            using var reader = new StreamReader(log, Encoding.UTF8);
            return reader.ReadToEnd().Trim();
        }
        catch (IOException e)
        {
            return $"(its log cannot be read: {e.Message})";
        }
    }
}
