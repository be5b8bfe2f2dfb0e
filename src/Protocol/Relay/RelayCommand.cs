using System.Buffers;
using System.Text.Json;

namespace InterpreterKernel.Protocol.Relay;

/// <summary>What the bridge asks of the relay itself. A closed set.</summary>
public abstract record RelayCommand
{
    private protected RelayCommand(string op) => Op = op;

    /// <summary>Its name on the wire.</summary>
    public string Op { get; }

    /// <summary>
    /// Encodes the JSON. <paramref name="lastBulk"/> is the number of the last bulk frame before the command, which may
    /// overtake it: shell requests up to that number were meant for the kernel that this command ends.
    /// </summary>
    public ReadOnlyMemory<byte> Encode(ulong lastBulk)
    {
        var json = new ArrayBufferWriter<byte>(256);
        using (var writer = new Utf8JsonWriter(json))
        {
            writer.WriteStartObject();
            writer.WriteString("op", Op);
            writer.WriteNumber("bulk", lastBulk);
            WriteContent(writer);
            writer.WriteEndObject();
        }

        return json.WrittenMemory;
    }

    private protected virtual void WriteContent(Utf8JsonWriter writer)
    {
    }
}

/// <summary>
/// Starts a kernel, in place of the one that runs, if any. Answered by <see cref="KernelStarted"/> or
/// <see cref="KernelStartFailed"/>. Requests sent after it wait in the relay until the kernel is ready.
/// </summary>
/// <param name="Kernel">Name of a kernelspec in the sandbox.</param>
/// <param name="Session">Session id the kernel shall use, where it can be told (ipykernel); null leaves it to the kernel.</param>
public sealed record StartKernel(string Kernel, string? Session) : RelayCommand("start")
{
    /// <summary>Runs this instead of the kernelspec's argv; {connection_file} in it is filled in.</summary>
    public IReadOnlyList<string>? Arguments { get; init; }

    /// <summary>Where the kernel runs; null is the home directory.</summary>
    public string? WorkingDirectory { get; init; }

    /// <summary>A kernel that the relay was started with, and that nobody has used, will do: it gets the session instead.</summary>
    public bool Adopt { get; init; }

    /// <summary>Variables to add to its environment; null values remove one.</summary>
    public IReadOnlyDictionary<string, string?>? Environment { get; init; }

    private protected override void WriteContent(Utf8JsonWriter writer)
    {
        writer.WriteString("kernel", Kernel);
        writer.WriteString("session", Session);
        writer.WriteString("cwd", WorkingDirectory);
        if (Adopt)
        {
            writer.WriteBoolean("adopt", true);
        }

        if (Arguments is not null)
        {
            writer.WriteStartArray("argv");
            foreach (var word in Arguments)
            {
                writer.WriteStringValue(word);
            }

            writer.WriteEndArray();
        }

        if (Environment is not null)
        {
            writer.WriteStartObject("env");
            foreach (var (name, value) in Environment)
            {
                writer.WriteString(name, value);
            }

            writer.WriteEndObject();
        }
    }
}

/// <summary>Interrupts what runs, the way the kernelspec says. Answered by <see cref="KernelInterrupted"/>.</summary>
/// <param name="Cell">
/// Only while this request has not ended: its end may be on its way to us behind much output, and the interrupt would meet
/// the next cell. Null interrupts whatever runs, and the requests that were sent before it and have not arrived yet.
/// </param>
public sealed record InterruptKernel(string? Cell = null) : RelayCommand("interrupt")
{
    private protected override void WriteContent(Utf8JsonWriter writer)
    {
        if (Cell is not null)
        {
            writer.WriteString("cell", Cell);
        }
    }
}

/// <summary>
/// Kills the kernel's processes and starts it again as it was last started. Answered by <see cref="KernelKilled"/> when they are gone, then by
/// <see cref="KernelStarted"/>, behind which nothing of the old kernel comes, or <see cref="KernelStartFailed"/>.
/// </summary>
/// <param name="Session">Session id of the new kernel.</param>
public sealed record RestartKernel(string? Session) : RelayCommand("restart")
{
    private protected override void WriteContent(Utf8JsonWriter writer) => writer.WriteString("session", Session);
}

/// <summary>Kills the kernel's processes. Answered by <see cref="KernelDied"/>, if one was running.</summary>
public sealed record KillKernel() : RelayCommand("kill");

/// <summary>Kills the kernel's processes and ends the relay. Not answered: the attachment ends.</summary>
public sealed record ExitRelay() : RelayCommand("exit");
