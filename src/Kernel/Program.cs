using System.CommandLine;
using InterpreterKernel.Kernel.Commands;

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
return await root.Parse(args).InvokeAsync(new InvocationConfiguration { ProcessTerminationTimeout = null }).ConfigureAwait(false);
