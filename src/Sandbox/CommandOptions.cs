namespace InterpreterKernel.Sandbox;

/// <summary>How to run a shell command.</summary>
public sealed record CommandOptions
{
    /// <summary>
    /// How long it may run. When that is over it and everything it has started is killed. Default: 60 s for
    /// <see cref="Commands.RunAsync"/>, no limit for a command started in the background; zero or infinite: no limit.
    /// </summary>
    public TimeSpan? Timeout { get; init; }

    /// <summary>Its working directory. Default: the template's, or the user's home.</summary>
    public string? Cwd { get; init; }

    /// <summary>Environment variables besides the sandbox's own.</summary>
    public IReadOnlyDictionary<string, string> Envs { get; init; } = new Dictionary<string, string>();

    /// <summary>The Unix user that it runs as. Default: the template's.</summary>
    public string? User { get; init; }

    /// <summary>Whether input can be sent to it. Default: false, it reads nothing.</summary>
    public bool Stdin { get; init; }

    /// <summary>Called with each piece of standard output, as it comes, characters whole.</summary>
    public Action<string>? OnStdout { get; init; }

    /// <summary>Called with each piece of standard error, as it comes, characters whole.</summary>
    public Action<string>? OnStderr { get; init; }

    /// <summary>
    /// How much of each output is kept for the result, in bytes; more is thrown away, and the result says so. Callbacks get
    /// everything. Default: 64 MiB.
    /// </summary>
    public int MaxOutputBytes { get; init; } = 64 * 1024 * 1024;
}

/// <summary>How a command ended and what it printed.</summary>
/// <param name="ExitCode">Its exit code; -1 when a signal ended it.</param>
/// <param name="Stdout">Its standard output.</param>
/// <param name="Stderr">Its standard error.</param>
/// <param name="Error">What went wrong, in words, such as <c>signal: killed</c>; null after exit code 0.</param>
public sealed record CommandResult(int ExitCode, string Stdout, string Stderr, string? Error)
{
    /// <summary>True when some output was thrown away, because it was more than <see cref="CommandOptions.MaxOutputBytes"/>.</summary>
    public bool Truncated { get; init; }

    /// <summary>Returns this when the exit code is 0.</summary>
    /// <exception cref="CommandExitException">It is not.</exception>
    public CommandResult EnsureSuccess()
    {
        if (ExitCode == 0)
        {
            return this;
        }

        const int Shown = 2000;
        var tail = Stderr.Length > Shown ? "…" + Stderr[^Shown..] : Stderr;
        throw new CommandExitException($"The command ended with {Error ?? $"exit code {ExitCode}"}. {(tail.Length == 0 ? "It printed no errors." : "It printed: " + tail)}", this);
    }
}
