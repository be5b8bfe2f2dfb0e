namespace InterpreterKernel.Sandbox;

/// <summary>What process to start.</summary>
/// <param name="Cmd">The program: a path, or a name to be found on the sandbox's PATH.</param>
/// <param name="Args">Its arguments, handed over as they are.</param>
public sealed record ProcessStart(string Cmd, IReadOnlyList<string> Args)
{
    /// <summary>Environment variables besides the sandbox's own.</summary>
    public IReadOnlyDictionary<string, string> Envs { get; init; } = new Dictionary<string, string>();

    /// <summary>Its working directory. Default: the template's, or the user's home.</summary>
    public string? Cwd { get; init; }

    /// <summary>Whether its standard input is a pipe that can be written to. False: it reads nothing.</summary>
    public bool Stdin { get; init; } = true;

    /// <summary>A label, shown in lists. Processes are found by their pid, never by it.</summary>
    public string? Tag { get; init; }

    /// <summary>The Unix user that it runs as. Default: the template's.</summary>
    public string? User { get; init; }

    /// <summary>
    /// After this time the sandbox itself kills the process: that one only, not what it has started, and even when nobody
    /// is connected any more. Default: no limit.
    /// </summary>
    public TimeSpan? Timeout { get; init; }

    /// <summary>
    /// Asks for a standard input that is no pipe but a listening unix socket, to which one connection can be made from outside
    /// (<see cref="SandboxProcess.Socket"/>): the process accepts it, and the two talk with nothing in between. Only an embedded host on this
    /// machine does so, and only where it can; elsewhere the process gets its pipe.
    /// </summary>
    public bool Listen { get; init; }

    /// <summary>Gives it a terminal of this size in place of pipes.</summary>
    public TerminalSize? Terminal { get; init; }
}

/// <summary>The size of a terminal, in characters.</summary>
/// <param name="Columns">Its width.</param>
/// <param name="Rows">Its height.</param>
public sealed record TerminalSize(int Columns, int Rows);

/// <summary>A process that runs in the sandbox.</summary>
/// <param name="Pid">Its process id, as seen inside.</param>
/// <param name="Cmd">The program.</param>
/// <param name="Args">Its arguments.</param>
public sealed record ProcessDescription(uint Pid, string Cmd, IReadOnlyList<string> Args)
{
    /// <summary>The environment that was given at its start.</summary>
    public IReadOnlyDictionary<string, string> Envs { get; init; } = new Dictionary<string, string>();

    /// <summary>The working directory that was given at its start.</summary>
    public string? Cwd { get; init; }

    /// <summary>Its label.</summary>
    public string? Tag { get; init; }
}

/// <summary>The signals that the daemon of a sandbox delivers. Others are sent by running <c>kill</c> inside.</summary>
public enum ProcessSignal
{
    /// <summary>SIGKILL: ends it at once.</summary>
    Kill = 9,

    /// <summary>SIGTERM: asks it to end.</summary>
    Terminate = 15,
}
