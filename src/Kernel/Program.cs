using System.CommandLine;
using InterpreterKernel.Broker;
using InterpreterKernel.Kernel.Commands;
using InterpreterKernel.Kernel.Lifecycle;
using InterpreterKernel.Sandbox;

// The program consists of these commands. The first is the kernel itself, the second and third make it known to Jupyter, the
// next look after it, and the last two are its daemons.
var root = new RootCommand(
    """
    A Jupyter kernel whose cells run in a sandbox.

    Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 the kernel can't serve (connection file, ports, libzmq),
    4 the kernel process in the sandbox died, 5 the sandbox was lost, 143 ended by a signal or with its parent.
    """)
{
    KernelCommand.Create(),
    InstallCommand.Create(),
    InstallCommand.CreateUninstall(),
    DoctorCommand.Create(),
    StatusCommand.Create(),
    SandboxCommand.Create(),
    SweepCommand.Create(),
    ServeCommand.Create(),
    BrokerCommand.Create(),
};
var parsed = root.Parse(args);
if (parsed.Errors.Count > 0)
{
    foreach (var error in parsed.Errors)
    {
        await Console.Error.WriteLineAsync("interpreter-kernel: " + error.Message).ConfigureAwait(false);
    }

    await Console.Error.WriteLineAsync("interpreter-kernel --help shows what there is.").ConfigureAwait(false);
    return ExitCodes.Usage;
}

try
{
    // Signals are each command's own business: what they end takes longer than a framework would give it.
    return await parsed.InvokeAsync(new InvocationConfiguration { ProcessTerminationTimeout = null, EnableDefaultExceptionHandler = false }).ConfigureAwait(false);
}
catch (Exception e) when (e is BrokerException or SandboxException or IOException or UnauthorizedAccessException)
{
    await Console.Error.WriteLineAsync("interpreter-kernel: " + e.Message).ConfigureAwait(false);
    return ExitCodes.Failure;
}
