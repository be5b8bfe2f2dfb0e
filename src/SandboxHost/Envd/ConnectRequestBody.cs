using System.IO.Pipelines;
using Google.Protobuf;
using InterpreterKernel.Protocol.Connect;
using Microsoft.AspNetCore.Http;

namespace InterpreterKernel.SandboxHost.Envd;

/// <summary>Reads the messages of a request: one bare message of a unary call, or the envelopes of a stream.</summary>
internal sealed class ConnectRequestBody(HttpRequest request, ConnectCodec codec)
{
    private readonly PipeReader _reader = request.BodyReader;

    /// <exception cref="ConnectException">It is too long or no such message.</exception>
    internal async Task<T> ReadUnaryAsync<T>(MessageParser<T> parser, CancellationToken cancellation)
        where T : IMessage<T>, new()
    {
        RefuseCompression("Content-Encoding");
        while (true)
        {
            var result = await _reader.ReadAsync(cancellation);
            var buffer = result.Buffer;
            if (buffer.Length > Envelope.DefaultMaxPayload)
            {
                _reader.AdvanceTo(buffer.End);
                throw new ConnectException(ConnectCode.ResourceExhausted, $"the message is larger than {Envelope.DefaultMaxPayload} bytes");
            }

            if (!result.IsCompleted)
            {
                _reader.AdvanceTo(buffer.Start, buffer.End);
                continue;
            }

            try
            {
                return codec.Parse(buffer, parser);
            }
            finally
            {
                _reader.AdvanceTo(buffer.End);
            }
        }
    }

    /// <summary>The next message of a stream; default at its end.</summary>
    /// <exception cref="ConnectException">The bytes are no Connect stream, or it ends inside an envelope.</exception>
    internal async Task<T?> ReadEnvelopeAsync<T>(MessageParser<T> parser, CancellationToken cancellation)
        where T : class, IMessage<T>, new()
    {
        RefuseCompression("Connect-Content-Encoding");
        while (true)
        {
            var result = await _reader.ReadAsync(cancellation);
            var buffer = result.Buffer;
            var seen = buffer.End;
            try
            {
                if (Envelope.TryRead(ref buffer, out var flags, out var payload))
                {
                    seen = buffer.Start;
                    return (flags & Envelope.EndOfStream) != 0 ? null : codec.Parse(payload, parser);
                }

                if (result.IsCompleted)
                {
                    return buffer.Length == 0 ? null : throw new ConnectException(ConnectCode.InvalidArgument, "the stream ends inside an envelope");
                }
            }
            catch (EnvelopeException e)
            {
                throw new ConnectException(ConnectCode.InvalidArgument, e.Message);
            }
            finally
            {
                // Whatever happens, what was read must be given back.
                _reader.AdvanceTo(buffer.Start, seen);
            }
        }
    }

    private void RefuseCompression(string header)
    {
        if (request.Headers[header].ToString() is { Length: > 0 } encoding && encoding != "identity")
        {
            throw new ConnectException(ConnectCode.Unimplemented, $"unknown compression \"{encoding}\": supported encodings are identity");
        }
    }
}
