using System.Buffers;

namespace InterpreterKernel.Protocol.Relay;

/// <summary>One unit between bridge and relay, as read from the stream.</summary>
/// <param name="Kind">What the payload is.</param>
/// <param name="Number">Its place in its lane, from 1; 0 for the kinds that are not numbered.</param>
/// <param name="Payload">A view of the bytes read; copy what is kept.</param>
public readonly record struct RelayFrame(RelayFrameKind Kind, ulong Number, ReadOnlySequence<byte> Payload)
{
    /// <summary>The lane in which frames of this kind are numbered.</summary>
    public RelayLane Lane => LaneOf(Kind);

    /// <summary>The lane in which frames of a kind are numbered.</summary>
    public static RelayLane LaneOf(RelayFrameKind kind) => kind switch
    {
        RelayFrameKind.Bulk or RelayFrameKind.BulkPart or RelayFrameKind.Event => RelayLane.Bulk,
        RelayFrameKind.Urgent or RelayFrameKind.Command or RelayFrameKind.Notice => RelayLane.Urgent,
        _ => RelayLane.None,
    };
}

/// <summary>Bytes came that no relay, or bridge, of this version sends. The stream they came on must be given up.</summary>
public sealed class RelayProtocolException : Exception
{
    /// <summary>Makes it with a text that says what was wrong.</summary>
    public RelayProtocolException(string message)
        : base(message)
    {
    }

    /// <summary>Makes it with a text that says what was wrong, and the fault below it.</summary>
    public RelayProtocolException(string message, Exception inner)
        : base(message, inner)
    {
    }
}
