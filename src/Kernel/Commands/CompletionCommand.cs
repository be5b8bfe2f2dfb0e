using System.CommandLine;
using InterpreterKernel.Kernel.Lifecycle;

namespace InterpreterKernel.Kernel.Commands;

/// <summary>
/// <c>completion</c>: what makes a shell complete our command line. The scripts ask the program itself, by the directive <c>[suggest:POSITION]</c>
/// that every System.CommandLine program answers, so they never grow old.
/// </summary>
internal static class CompletionCommand
{
    private const string Bash =
        """
        # interpreter-kernel completion for bash: eval "$(interpreter-kernel completion bash)", for good in ~/.bashrc
        _interpreter_kernel() {
            local IFS=$'\n' line=${COMP_LINE:0:COMP_POINT}
            COMPREPLY=($(compgen -W "$(interpreter-kernel "[suggest:${#line}]" "$line" 2>/dev/null)" -- "${COMP_WORDS[COMP_CWORD]}"))
        }
        complete -o default -F _interpreter_kernel interpreter-kernel
        """;

    private const string Zsh =
        """
        # interpreter-kernel completion for zsh: eval "$(interpreter-kernel completion zsh)", for good in ~/.zshrc behind compinit
        _interpreter_kernel() {
            local -a found
            found=("${(@f)$(interpreter-kernel "[suggest:${CURSOR}]" "${BUFFER}" 2>/dev/null)}")
            compadd -- ${found:#} || _files
        }
        compdef _interpreter_kernel interpreter-kernel
        """;

    private const string Fish =
        """
        # interpreter-kernel completion for fish: interpreter-kernel completion fish > ~/.config/fish/completions/interpreter-kernel.fish
        function __interpreter_kernel
            set --local line (commandline --current-process --cut-at-cursor)
            interpreter-kernel "[suggest:"(string length -- "$line")"]" "$line" 2>/dev/null
        end
        complete --command interpreter-kernel --arguments '(__interpreter_kernel)'
        """;

    /// <summary>The command.</summary>
    public static Command Create()
    {
        var shell = new Argument<string>("shell") { Description = "bash, zsh or fish" };
        shell.AcceptOnlyFromAmong("bash", "zsh", "fish");
        var command = new Command("completion", "Print a script that makes a shell complete this command line.") { shell };
        command.SetAction(parsed =>
        {
            Console.WriteLine(parsed.GetValue(shell) switch
            {
                "bash" => Bash,
                "zsh" => Zsh,
                _ => Fish,
            });
            return ExitCodes.Success;
        });
        return command;
    }
}
