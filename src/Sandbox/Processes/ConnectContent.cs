using System.Buffers.Binary;
using Google.Protobuf;

namespace InterpreterKernel.Sandbox.Processes;

internal static class ConnectContent
{
    public const string Stream = "application/connect+proto";

    /// <summary>A message in its envelope.</summary>
    public static byte[] Envelope(IMessage message)
    {
        var size = message.CalculateSize();
        var bytes = new byte[Protocol.Connect.Envelope.HeaderLength + size];
        BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(1), (uint)size);
        message.WriteTo(bytes.AsSpan(Protocol.Connect.Envelope.HeaderLength));
        return bytes;
    }
}
