using Google.Protobuf;
using InterpreterKernel.Protocol.Envd;

namespace InterpreterKernel.Sandbox.Processes;

internal enum ProcessEventKind
{
    Start,
    Stdout,
    Stderr,
    Pty,
    End,
    Keepalive,
    Unknown,
}

/// <summary>
/// One message of a Start or Connect stream. StartResponse and ConnectResponse have the same layout:
/// <code>
/// 0A len            event
///    12 len         data          (0A start, 1A end, 22 keepalive)
///       0A len ...  stdout        (12 stderr, 1A pty)
/// </code>
/// Output is nearly all that ever comes, so its exact shape is read by hand and its bytes are handed on where they lie;
/// anything else goes to Google's parser, which knows all the other ways to write the same thing.
/// </summary>
internal readonly record struct ProcessEvent(ProcessEventKind Kind, ReadOnlyMemory<byte> Data = default, uint Pid = 0, ProcessOutput.Ended? End = null)
{
    private const byte First = 0x0A;
    private const byte Second = 0x12;
    private const byte Third = 0x1A;

    /// <exception cref="InvalidProtocolBufferException">The bytes are no such message.</exception>
    public static ProcessEvent Parse(ReadOnlyMemory<byte> message) => TryOutput(message, out var output) ? output : ParseAny(message);

    /// <summary>Only for a message that holds exactly one output and nothing besides.</summary>
    internal static bool TryOutput(ReadOnlyMemory<byte> message, out ProcessEvent output)
    {
        var span = message.Span;
        var at = 0;
        output = default;
        if (!Enter(span, First, ref at) || !Enter(span, Second, ref at) || at >= span.Length)
        {
            return false;
        }

        var kind = span[at] switch
        {
            First => ProcessEventKind.Stdout,
            Second => ProcessEventKind.Stderr,
            Third => ProcessEventKind.Pty,
            _ => ProcessEventKind.Unknown,
        };
        if (kind == ProcessEventKind.Unknown || !Enter(span, span[at], ref at))
        {
            return false;
        }

        output = new ProcessEvent(kind, message[at..]);
        return true;
    }

    internal static ProcessEvent ParseAny(ReadOnlyMemory<byte> message)
    {
        var e = StartResponse.Parser.ParseFrom(message.Span).Event;
        switch (e?.EventCase)
        {
            case Protocol.Envd.ProcessEvent.EventOneofCase.Start:
                return new ProcessEvent(ProcessEventKind.Start, Pid: e.Start.Pid);
            case Protocol.Envd.ProcessEvent.EventOneofCase.Keepalive:
                return new ProcessEvent(ProcessEventKind.Keepalive);
            case Protocol.Envd.ProcessEvent.EventOneofCase.End:
                var end = e.End;
                return new ProcessEvent(
                    ProcessEventKind.End, End: new ProcessOutput.Ended(end.ExitCode, end.Exited, end.Status, end.HasError ? end.Error : null));
            case Protocol.Envd.ProcessEvent.EventOneofCase.Data:
                return e.Data.OutputCase switch
                {
                    Protocol.Envd.ProcessEvent.Types.DataEvent.OutputOneofCase.Stdout => new(ProcessEventKind.Stdout, e.Data.Stdout.Memory),
                    Protocol.Envd.ProcessEvent.Types.DataEvent.OutputOneofCase.Stderr => new(ProcessEventKind.Stderr, e.Data.Stderr.Memory),
                    Protocol.Envd.ProcessEvent.Types.DataEvent.OutputOneofCase.Pty => new(ProcessEventKind.Pty, e.Data.Pty.Memory),
                    _ => new(ProcessEventKind.Unknown),
                };
            default:
                return new ProcessEvent(ProcessEventKind.Unknown); // a newer daemon's event: not for us
        }
    }

    // Steps into a length-delimited field that reaches exactly to the end of the message.
    private static bool Enter(ReadOnlySpan<byte> span, byte tag, ref int at)
    {
        if (at >= span.Length || span[at] != tag)
        {
            return false;
        }

        var next = at + 1;
        ulong length = 0;
        for (var shift = 0; shift < 35; shift += 7)
        {
            if (next >= span.Length)
            {
                return false;
            }

            var b = span[next++];
            length |= (ulong)(b & 0x7F) << shift;
            if (b < 0x80)
            {
                at = next;
                return length == (ulong)(span.Length - next);
            }
        }

        return false;
    }
}
