using System.Buffers;
using System.Text;
using Google.Protobuf;
using InterpreterKernel.Protocol.Connect;

namespace InterpreterKernel.SandboxHost.Envd;

/// <summary>The two encodings of the Connect protocol: proto3 JSON and binary.</summary>
internal abstract class ConnectCodec
{
    private static readonly ConnectCodec s_json = new JsonCodec();
    private static readonly ConnectCodec s_binary = new BinaryCodec();

    /// <summary>The name in content types: <c>json</c> or <c>proto</c>.</summary>
    internal abstract string Name { get; }

    /// <summary>The codec that a content type names, for a unary call or a stream; null when it is neither.</summary>
    internal static ConnectCodec? For(string? contentType, bool streaming)
    {
        var type = (contentType ?? "").Split(';')[0].Trim();
        return (type, streaming) switch
        {
            ("application/json", false) or ("application/connect+json", true) => s_json,
            ("application/proto", false) or ("application/connect+proto", true) => s_binary,
            _ => null,
        };
    }

    /// <exception cref="ConnectException">It is no such message.</exception>
    internal T Parse<T>(ReadOnlySequence<byte> bytes, MessageParser<T> parser)
        where T : IMessage<T>, new()
    {
        try
        {
            return Read(bytes, parser);
        }
        catch (IOException e)
        {
            // InvalidProtocolBufferException and InvalidJsonException have only this base in common.
            throw new ConnectException(ConnectCode.InvalidArgument, "unmarshal message: " + e.Message);
        }
    }

    /// <summary>Writes a message and gives its length.</summary>
    internal abstract byte[] Format(IMessage message);

    protected abstract T Read<T>(ReadOnlySequence<byte> bytes, MessageParser<T> parser)
        where T : IMessage<T>, new();

    private sealed class BinaryCodec : ConnectCodec
    {
        internal override string Name => "proto";

        internal override byte[] Format(IMessage message) => message.ToByteArray();

        protected override T Read<T>(ReadOnlySequence<byte> bytes, MessageParser<T> parser) => parser.ParseFrom(bytes);
    }

    private sealed class JsonCodec : ConnectCodec
    {
        // Unknown fields are ignored, as envd does.
        private readonly JsonParser _parser = new(JsonParser.Settings.Default.WithIgnoreUnknownFields(true));
        private readonly JsonFormatter _formatter = new(JsonFormatter.Settings.Default);

        internal override string Name => "json";

        internal override byte[] Format(IMessage message) => Encoding.UTF8.GetBytes(_formatter.Format(message));

        protected override T Read<T>(ReadOnlySequence<byte> bytes, MessageParser<T> parser)
        {
            try
            {
                return _parser.Parse<T>(Encoding.UTF8.GetString(bytes));
            }
            catch (Exception e) when (e is FormatException or OverflowException or ArgumentException or InvalidOperationException)
            {
                // The JSON parser lets some faults of its input through as what they are in .NET.
                throw new ConnectException(ConnectCode.InvalidArgument, "unmarshal message: " + e.Message);
            }
        }
    }
}

/// <summary>A call failed; it is told to the caller in the protocol's own form.</summary>
internal sealed class ConnectException(ConnectCode code, string message) : Exception(message)
{
    internal ConnectError Error { get; } = new(code, message);
}
