using InterpreterKernel.Sandbox.Http;

namespace InterpreterKernel.Sandbox.Processes;

/// <summary>
/// Starting commands so that all of a command can be killed, and killing it. envd signals one pid and nothing else
/// (envd-behaviour.md section h), so a command gets a session of its own, and it is a second process in the sandbox that
/// kills that session, the process group, and whatever descends from them.
/// </summary>
internal static class ProcessTree
{
    // Makes itself the leader of a new session and becomes the command, with its pid unchanged. Where it leads a group
    // already, setsid(1) would fork and the pid would be that of a mere waiter; such a process is a leader as it is.
    private const string Leader = """read -r _ _ _ _ g _ </proc/self/stat;if [ "$g" != "$$" ]&&command -v setsid >/dev/null;then exec setsid "$@";fi;exec "$@" """;

    // $1 is the leader. Only what the shell can do itself, so that one free process is enough. A round collects the living
    // members (of the leader's session or group, or children of a member: passes until none is added) and kills them. It is
    // over when a round finds none. Exit code 3: some were still there after all rounds.
    private const string Killer = """
        l=$1; n=0
        while [ $n -lt 2000 ]; do
          m=" $l "; f=; more=1
          while [ "$more" ]; do
            more=
            for d in /proc/[0-9]*; do
              p=${d#/proc/}
              [ "$p" = "$$" ] && continue
              case "$f" in *" $p "*) continue;; esac
              read -r s 2>/dev/null <"$d/stat" || continue
              set -- ${s##*) }
              case "$1" in Z|X) continue;; esac
              if [ "$p" != "$l" ] && [ "$3" != "$l" ] && [ "$4" != "$l" ]; then
                case "$m" in *" $2 "*) ;; *) continue;; esac
              fi
              m="$m$p "; f="$f $p "; more=1
            done
          done
          [ "$f" ] || exit 0
          kill -KILL $f 2>/dev/null
          n=$((n+1))
        done
        exit 3
        """;

    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(10);

    /// <summary>The command, as the leader of a session of its own.</summary>
    public static ProcessStart Wrap(ProcessStart start) =>
        start with { Cmd = "/bin/sh", Args = ["-c", Leader, "sh", start.Cmd, .. start.Args] };

    /// <summary>Lists show the command, not what it is wrapped in.</summary>
    public static ProcessDescription Unwrap(ProcessDescription process) =>
        process.Cmd == "/bin/sh" && process.Args.Count >= 4 && process.Args[1] == Leader
            ? process with { Cmd = process.Args[3], Args = [.. process.Args.Skip(4)] }
            : process;

    /// <summary>Kills the leader and all that belongs to it; true when nothing of it is left.</summary>
    public static async Task<bool> KillAsync(EnvdClient envd, uint leader, string? user, CancellationToken ct)
    {
        var start = new ProcessStart("/bin/sh", ["-c", Killer, "sh", leader.ToString(System.Globalization.CultureInfo.InvariantCulture)])
        {
            Stdin = false,
            User = user,
            Timeout = s_limit,
        };
        ProcessOutput.Ended killer;
        await using (var process = await Commands.OpenAsync(envd, start, $"Stopping process {leader} and what it started", ct))
        {
            killer = await process.WaitAsync(ct);
        }

        // The daemon stops waiting for the pipes of a process that it has been told to kill itself.
        await ProcessCalls.SendSignalAsync(envd, leader, ProcessSignal.Kill, ct);
        return killer.ExitCode == 0;
    }

    /// <summary>The same on the way out, bounded and without throwing. The second part says in words what came of it.</summary>
    public static async Task<(bool Gone, string Said)> StopAsync(EnvdClient envd, uint leader, string? user)
    {
        using var limit = new CancellationTokenSource(s_limit, envd.Connection.TimeProvider);
        try
        {
            return await KillAsync(envd, leader, user, limit.Token)
                ? (true, "It and everything it had started were killed; files it wrote are as they are.")
                : (false, "It was killed, but some of what it had started could not be; kill the sandbox to be rid of it.");
        }
        catch (SandboxLostException)
        {
            return (true, "The sandbox is gone by now, and with it everything that ran in it.");
        }
        catch (Exception e) when (e is SandboxException or OperationCanceledException)
        {
            return (false, $"Stopping it failed too, so it may still run; kill the sandbox to be rid of it. ({ServiceWords.Clean(e.Message, envd.Secrets)})");
        }
    }
}
