using System.Buffers;
using System.Buffers.Text;
using Google.Protobuf;
using InterpreterKernel.Protocol.Connect;
using InterpreterKernel.Protocol.Envd;
using InterpreterKernel.SandboxHost.Sandboxes;
using Microsoft.AspNetCore.Http;

namespace InterpreterKernel.SandboxHost.Envd;

/// <summary>
/// The answer of Start or Connect: one envelope for each event, then the end-of-stream envelope. StartResponse and
/// ConnectResponse have the same wire form (field 1 is the event), so one serves for both. Other streams write whole messages.
/// </summary>
internal sealed class EventStream(HttpResponse response, ConnectCodec codec)
{
    private static readonly byte[][] s_jsonPrefix =
    [
        "{\"event\":{\"data\":{\"stdout\":\""u8.ToArray(), "{\"event\":{\"data\":{\"stderr\":\""u8.ToArray(), "{\"event\":{\"data\":{\"pty\":\""u8.ToArray(),
    ];

    private static ReadOnlySpan<byte> JsonSuffix => "\"}}}"u8;

    /// <summary>
    /// Writes the head of the answer, once. Before that Kestrel's writer hands out buffers that end at what was asked for,
    /// and writers that count on more room (protobuf, spans in several steps) fail.
    /// </summary>
    internal async Task BeginAsync(CancellationToken cancellation)
    {
        if (!response.HasStarted)
        {
            response.StatusCode = StatusCodes.Status200OK;
            response.ContentType = "application/connect+" + codec.Name;
            response.Headers["X-Accel-Buffering"] = "no";
            await response.StartAsync(cancellation);
        }
    }

    /// <summary>Sends what was written.</summary>
    internal async Task FlushAsync(CancellationToken cancellation)
    {
        var result = await response.BodyWriter.FlushAsync(cancellation);
        if (result.IsCompleted || result.IsCanceled)
        {
            throw new OperationCanceledException("the reader of the stream left");
        }
    }

    internal void WriteStart(uint pid) => Write(new ProcessEvent { Start = new ProcessEvent.Types.StartEvent { Pid = pid } });

    internal void WriteKeepAlive() => Write(new ProcessEvent { Keepalive = new ProcessEvent.Types.KeepAlive() });

    internal void WriteEnd(ProcessEnd end)
    {
        var message = new ProcessEvent.Types.EndEvent { ExitCode = end.ExitCode, Exited = end.Exited, Status = end.Status };
        if (end.Error is { } error)
        {
            message.Error = error;
        }

        Write(new ProcessEvent { End = message });
    }

    internal void WriteData(in ProcessOutput output)
    {
        if (codec.Name == "json")
        {
            WriteJsonData(output);
            return;
        }

        var bytes = UnsafeByteOperations.UnsafeWrap(output.Data);
        var data = output.Kind switch
        {
            OutputKind.Stdout => new ProcessEvent.Types.DataEvent { Stdout = bytes },
            OutputKind.Stderr => new ProcessEvent.Types.DataEvent { Stderr = bytes },
            _ => new ProcessEvent.Types.DataEvent { Pty = bytes },
        };
        var message = new StartResponse { Event = new ProcessEvent { Data = data } };
        Envelope.WriteHeader(response.BodyWriter, 0, message.CalculateSize());
        message.WriteTo(response.BodyWriter);
    }

    /// <summary>Ends the stream, with the error it failed with if it did.</summary>
    internal async Task EndAsync(ConnectError? error, CancellationToken cancellation)
    {
        await BeginAsync(cancellation);
        Envelope.WriteEnd(response.BodyWriter, error);
        await response.BodyWriter.FlushAsync(cancellation);
    }

    /// <summary>Writes one message of a stream that is not an event stream.</summary>
    internal void WriteMessage(IMessage message)
    {
        var bytes = codec.Format(message);
        Envelope.WriteHeader(response.BodyWriter, 0, bytes.Length);
        response.BodyWriter.Write(bytes);
    }

    private void Write(ProcessEvent processEvent) => WriteMessage(new StartResponse { Event = processEvent });

    /// <summary>The hot path of JSON clients: base64 straight into the response, no objects, no strings.</summary>
    private void WriteJsonData(in ProcessOutput output)
    {
        var prefix = s_jsonPrefix[(int)output.Kind];
        var length = prefix.Length + Base64.GetMaxEncodedToUtf8Length(output.Length) + JsonSuffix.Length;
        var writer = response.BodyWriter;
        Envelope.WriteHeader(writer, 0, length);
        var span = writer.GetSpan(length);
        prefix.CopyTo(span);
        Base64.EncodeToUtf8(output.Data.Span, span[prefix.Length..], out _, out var written);
        JsonSuffix.CopyTo(span[(prefix.Length + written)..]);
        writer.Advance(length);
    }
}
