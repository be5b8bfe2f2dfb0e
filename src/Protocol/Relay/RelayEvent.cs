using System.Buffers;
using System.Text.Json;

namespace InterpreterKernel.Protocol.Relay;

/// <summary>What the relay tells of itself and the kernel's process. A closed set, but for <see cref="UnknownRelayEvent"/>.</summary>
public abstract record RelayEvent
{
    private protected RelayEvent()
    {
    }

    /// <summary>Reads the payload of an EVENT or NOTICE frame.</summary>
    /// <exception cref="RelayProtocolException">It is not JSON, or a member has another type than it must have.</exception>
    public static RelayEvent Decode(in ReadOnlySequence<byte> payload)
    {
        try
        {
            using var document = JsonDocument.Parse(payload);
            var root = document.RootElement;
            var op = Text(root, "op") ?? throw new RelayProtocolException("an event without a name");
            return op switch
            {
                "started" => new KernelStarted(Integer(root, "pid") ?? 0, Text(root, "session"))
                {
                    Kernelspec = root.TryGetProperty("spec", out var spec) ? spec.Clone() : default,
                    InterruptMode = Text(root, "interrupt_mode") ?? "signal",
                    KernelInfo = Text(root, "kernel_info"),
                },
                "start_failed" => new KernelStartFailed(Text(root, "message") ?? "", Ending(root)),
                "interrupted" => new KernelInterrupted(Truth(root, "delivered") ?? false, Text(root, "parent")) { Cell = Text(root, "cell") },
                "killed" => new KernelKilled(Ending(root)),
                "died" => new KernelDied(Ending(root), Truth(root, "commanded") ?? false, Truth(root, "oom")),
                "dropped" => new OutputDropped(Integer64(root, "bytes") ?? 0, Text(root, "parent")),
                _ => new UnknownRelayEvent(op),
            };
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException)
        {
            throw new RelayProtocolException("an event that is none: " + e.Message, e);
        }
    }

    private static KernelEnding Ending(JsonElement root) =>
        new(Integer(root, "exit_code"), Text(root, "signal"), Text(root, "stderr") ?? "");

    private static string? Text(JsonElement root, string name) => root.TryGetProperty(name, out var value) ? value.GetString() : null;

    private static int? Integer(JsonElement root, string name) =>
        root.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null ? value.GetInt32() : null;

    private static long? Integer64(JsonElement root, string name) =>
        root.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null ? value.GetInt64() : null;

    private static bool? Truth(JsonElement root, string name) =>
        root.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null ? value.GetBoolean() : null;
}

/// <summary>How a kernel process ended.</summary>
/// <param name="ExitCode">Its exit code, if it exited.</param>
/// <param name="Signal">The name of the signal that ended it, such as SIGSEGV, if one did.</param>
/// <param name="Stderr">The last lines it wrote outside of its messages (20 lines, 8 KiB).</param>
public sealed record KernelEnding(int? ExitCode, string? Signal, string Stderr);

/// <summary>The kernel is ready. Requests sent since the command are now given to it.</summary>
/// <param name="Pid">Its process id in the sandbox.</param>
/// <param name="Session">The session id it was told to use, or null.</param>
public sealed record KernelStarted(int Pid, string? Session) : RelayEvent
{
    /// <summary>Its kernelspec (kernel.json), or only argv where the command gave one.</summary>
    public JsonElement Kernelspec { get; init; }

    /// <summary>signal or message.</summary>
    public string InterruptMode { get; init; } = "signal";

    /// <summary>The content of its kernel_info_reply, as the text it sent.</summary>
    public string? KernelInfo { get; init; }
}

/// <summary>The kernel could not be started, or ended before it was ready.</summary>
/// <param name="Message">Why, for people.</param>
/// <param name="Ending">How the process ended, if there was one.</param>
public sealed record KernelStartFailed(string Message, KernelEnding Ending) : RelayEvent;

/// <summary>An interrupt was handled.</summary>
/// <param name="Delivered">False when no kernel was running, or <see cref="Cell"/> had ended.</param>
/// <param name="Request">Id of the interrupt_request that asked for it and still has to be answered; null after a command.</param>
public sealed record KernelInterrupted(bool Delivered, string? Request) : RelayEvent
{
    /// <summary>The request that the command named, if it named one.</summary>
    public string? Cell { get; init; }
}

/// <summary>The processes of a kernel that is to be replaced are gone; the next one starts. Overtakes output.</summary>
/// <param name="Ending">How the old one ended.</param>
public sealed record KernelKilled(KernelEnding Ending) : RelayEvent;

/// <summary>The kernel's process ended after it was ready. Everything it sent came before this.</summary>
/// <param name="Ending">How.</param>
/// <param name="Commanded">The bridge had asked for it.</param>
/// <param name="OutOfMemory">The sandbox's memory limit killed it; null where that can't be known.</param>
public sealed record KernelDied(KernelEnding Ending, bool Commanded, bool? OutOfMemory) : RelayEvent;

/// <summary>Stream text was given up at this place, because the spool in the sandbox was full.</summary>
/// <param name="Bytes">How much.</param>
/// <param name="Request">Id of the request it belonged to.</param>
public sealed record OutputDropped(long Bytes, string? Request) : RelayEvent;

/// <summary>An event of a newer relay; to be logged and ignored.</summary>
/// <param name="Name">Its name.</param>
public sealed record UnknownRelayEvent(string Name) : RelayEvent;
