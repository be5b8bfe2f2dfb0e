using InterpreterKernel.Sandbox;

namespace InterpreterKernel.Kernel.Remote;

/// <summary>What a sandbox has to hold besides the kernel itself: a python3 with ipykernel and pyzmq (DESIGN 3.5).</summary>
internal static class TemplateNeeds
{
    private const string Probe = "python3 -c 'import ipykernel, zmq'";

    // Debian's pip wants to be told that the system's packages are not touched; an older pip does not know the option.
    private const string Install =
        "python3 -m pip install --user --quiet --disable-pip-version-check --break-system-packages ipykernel"
        + " || python3 -m pip install --user --quiet --disable-pip-version-check ipykernel";

    private static readonly TimeSpan s_installing = TimeSpan.FromMinutes(5);

    /// <summary>Whether they are there.</summary>
    public static async Task<bool> AreMetAsync(Sandbox.Sandbox sandbox, CancellationToken cancellationToken) =>
        (await sandbox.Commands.RunAsync(Probe, null, cancellationToken).ConfigureAwait(false)).ExitCode == 0;

    /// <summary>Installs them for the sandbox's user where they are missing. The user has allowed it.</summary>
    /// <exception cref="RemoteUnavailableException">pip could not; its words are in the text.</exception>
    public static async Task EnsureAsync(Sandbox.Sandbox sandbox, Action<string> waiting, CancellationToken cancellationToken)
    {
        if (await AreMetAsync(sandbox, cancellationToken).ConfigureAwait(false))
        {
            return;
        }

        waiting("Installing ipykernel in the sandbox");
        CommandResult done;
        try
        {
            done = await sandbox.Commands.RunAsync(Install, new CommandOptions { Timeout = s_installing }, cancellationToken).ConfigureAwait(false);
        }
        catch (ExecutionTimeoutException e)
        {
            throw new RemoteUnavailableException("PipInstallFailed", $"pip did not install ipykernel within {s_installing.TotalMinutes:0} minutes and was stopped. Use a template that has it.", e);
        }

        if (done.ExitCode != 0)
        {
            throw new RemoteUnavailableException(
                "PipInstallFailed", $"pip could not install ipykernel in the sandbox. Use a template that has it, such as code-interpreter-v1. pip said:\n{Tail(done.Stderr)}");
        }
    }

    /// <summary>What to do about a kernel that did not start, where the template is the reason; else null.</summary>
    public static async Task<string?> AdviceAsync(Sandbox.Sandbox sandbox, string? template, CancellationToken cancellationToken)
    {
        try
        {
            if (await AreMetAsync(sandbox, cancellationToken).ConfigureAwait(false))
            {
                return null;
            }
        }
        catch (SandboxException)
        {
            // The first failure is the one to report.
            return null;
        }

        return template is null
            ? "The sandbox's python3 lacks ipykernel or pyzmq: put them into the root file system, or name an interpreter that has them (setting python)."
            : $"The python3 of the template '{template}' lacks ipykernel or pyzmq. Use a template that has both, such as code-interpreter-v1 (setting template), or allow to install them (setting pipInstall).";
    }

    private static string Tail(string text) => text.Length > 2000 ? "…" + text[^2000..] : text;
}
