using System.CommandLine;
using InterpreterKernel.Broker;
using InterpreterKernel.Kernel.Commands;
using InterpreterKernel.Kernel.Lifecycle;
using InterpreterKernel.Sandbox;

// The program consists of these commands. The first is the kernel itself, the second and third make it known to Jupyter, the
// next look after it, two are its daemons, and the last is for shells.
var root = new RootCommand(
    """
    A Jupyter kernel whose cells run in a sandbox.
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
    CompletionCommand.Create(),
};
HelpWithExamples.AddTo(root);
var parsed = root.Parse(args);

// What a shell asks for while one types is no whole command line yet.
var isAsking = args is [['[', 's', 'u', 'g', 'g', 'e', 's', 't', ..], ..];
if (parsed.Errors.Count > 0 && !isAsking)
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
