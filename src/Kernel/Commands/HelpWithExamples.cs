using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;

namespace InterpreterKernel.Kernel.Commands;

/// <summary><c>--help</c>, with what people copy: examples for each command, and the exit codes.</summary>
internal sealed class HelpWithExamples(HelpAction help) : SynchronousCommandLineAction
{
    private const string ExitCodes =
        """
        Exit codes:
          0    done; a kernel was shut down or restarted by request
          1    failed, stderr says why; doctor: something required is missing
          2    wrong usage or configuration
          3    the kernel can't serve: connection file, ports, libzmq
          4    the kernel process in the sandbox died
          5    the sandbox was lost
          143  ended by a signal, or with the program that started it
        """;

    /// <summary>Puts it in the place of the framework's own help.</summary>
    public static void AddTo(RootCommand root)
    {
        foreach (var option in root.Options.OfType<HelpOption>())
        {
            option.Action = new HelpWithExamples((HelpAction)option.Action!);
        }
    }

    /// <inheritdoc/>
    public override bool ClearsParseErrors => true;

    /// <inheritdoc/>
    public override int Invoke(ParseResult parseResult)
    {
        var code = help.Invoke(parseResult);
        var output = parseResult.InvocationConfiguration.Output;
        if (ExamplesOf(parseResult.CommandResult.Command) is { Length: > 0 } examples)
        {
            output.WriteLine("Examples:");
            foreach (var line in examples)
            {
                output.WriteLine("  " + line);
            }

            output.WriteLine();
        }

        output.WriteLine(ExitCodes);
        return code;
    }

    private static string[] ExamplesOf(Command command) => command switch
    {
        RootCommand =>
        [
            "interpreter-kernel install                   # then: jupyter lab, and choose Python (sandbox)",
            "interpreter-kernel doctor                    # when something does not work",
            "interpreter-kernel status                    # who holds which sandbox",
        ],
        { Name: "install" } =>
        [
            "interpreter-kernel install",
            "interpreter-kernel install --sys-prefix --python \"$VIRTUAL_ENV/bin/python\"",
            "interpreter-kernel install --name sandbox-big --display-name \"Python (big sandbox)\" --memory 8G --timeout 10m",
            "interpreter-kernel install --name sandbox-data --upload data/ --download out/",
            "interpreter-kernel install --name sandbox-r --kernel ir",
        ],
        { Name: "uninstall" } => ["interpreter-kernel uninstall", "interpreter-kernel uninstall --name sandbox-r"],
        { Name: "doctor" } => ["interpreter-kernel doctor", "interpreter-kernel doctor --json | jq '.[] | select(.ok | not)'", "E2B_API_KEY=… interpreter-kernel doctor     # tries the service out"],
        { Name: "status" } => ["interpreter-kernel status", "interpreter-kernel status --json | jq .used"],
        { Name: "sandbox" } => ["interpreter-kernel sandbox list", "interpreter-kernel sandbox info ID", "interpreter-kernel sandbox kill ID"],
        { Name: "list" } => ["interpreter-kernel sandbox list --json"],
        { Name: "info" } => ["interpreter-kernel sandbox info ID --json"],
        { Name: "kill" } => ["interpreter-kernel sandbox kill ID", "interpreter-kernel sandbox list --json | jq -r '.[].id' | xargs interpreter-kernel sandbox kill"],
        { Name: "sweep" } => ["interpreter-kernel sweep"],
        { Name: "serve" } => ["interpreter-kernel serve --api-key-file key.txt", "interpreter-kernel serve --listen http://127.0.0.1:3000 --api-key-file key.txt --memory 1G"],
        { Name: "broker" } => ["interpreter-kernel broker --idle-exit 1h      # kernels start one by themselves"],
        { Name: "kernel" } => ["interpreter-kernel kernel -f connection.json  # Jupyter does this"],
        { Name: "completion" } => ["eval \"$(interpreter-kernel completion bash)\"", "interpreter-kernel completion fish > ~/.config/fish/completions/interpreter-kernel.fish"],
        _ => [],
    };
}
