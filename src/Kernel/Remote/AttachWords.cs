using System.Text;
using InterpreterKernel.Sandbox;

namespace InterpreterKernel.Kernel.Remote;

/// <summary>What an attach process says on its stderr: goes to the log, and into the error when it could not run.</summary>
internal sealed class AttachWords(Action<string> log)
{
    private string _last = "";

    /// <summary>Takes output of the process; only stderr counts.</summary>
    public void Hear(ProcessOutput output)
    {
        if (output is ProcessOutput.Stderr(var bytes))
        {
            _last = Encoding.UTF8.GetString(bytes.Span).TrimEnd();
            log("relay: " + _last);
        }
    }

    /// <summary>Something of ours, for the log.</summary>
    public void Log(string text) => log(text);

    /// <summary>What a shell, and so envd, says for a program that is not there or can't be executed.</summary>
    /// <exception cref="SandboxException">That was the end of it.</exception>
    public void ThrowIfNoPython(ProcessOutput.Ended? end)
    {
        if (end is { ExitCode: 126 or 127 })
        {
            throw new SandboxException(
                SandboxFault.CommandFailed,
                $"The relay can't be started in the sandbox, because there is no usable python3 ({_last}). Use a template that has it, such as code-interpreter-v1 (setting template).");
        }
    }
}
