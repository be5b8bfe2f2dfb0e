using System.Buffers;
using Google.Protobuf;
using InterpreterKernel.Protocol.Connect;
using InterpreterKernel.Protocol.Envd;
using Microsoft.AspNetCore.Http;
using Event = InterpreterKernel.Protocol.Envd.ProcessEvent;

namespace InterpreterKernel.Sandbox.Tests.Support;

/// <summary>Bytes of the process service, made with Google's code and not with ours.</summary>
internal static class Wire
{
    public const string Stream = "application/connect+proto";

    public static readonly byte[] Keepalive = Of(new Event { Keepalive = new Event.Types.KeepAlive() });

    public static readonly byte[] EndOfStream = Closing(null);

    public static byte[] Start(uint pid = 42) => Of(new Event { Start = new Event.Types.StartEvent { Pid = pid } });

    public static byte[] Stdout(ReadOnlySpan<byte> data) =>
        Of(new Event { Data = new Event.Types.DataEvent { Stdout = ByteString.CopyFrom(data) } });

    public static byte[] Stderr(ReadOnlySpan<byte> data) =>
        Of(new Event { Data = new Event.Types.DataEvent { Stderr = ByteString.CopyFrom(data) } });

    public static byte[] Ended(int exitCode) => Of(new Event
    {
        End = new Event.Types.EndEvent { ExitCode = exitCode, Exited = true, Status = $"exit status {exitCode}" },
    });

    public static byte[] Closing(ConnectError? error)
    {
        var output = new ArrayBufferWriter<byte>();
        Envelope.WriteEnd(output, error);
        return output.WrittenSpan.ToArray();
    }

    public static byte[] Of(Event e) => Enveloped(new StartResponse { Event = e }.ToByteArray());

    public static byte[] Enveloped(ReadOnlySpan<byte> payload, byte flags = 0)
    {
        var output = new ArrayBufferWriter<byte>();
        Envelope.WriteHeader(output, flags, payload.Length);
        output.Write(payload);
        return output.WrittenSpan.ToArray();
    }

    /// <summary>The message of a Start or Connect request.</summary>
    public static T Message<T>(this HttpContext context, MessageParser<T> parser)
        where T : IMessage<T>
    {
        var body = new ReadOnlySequence<byte>((byte[])context.Items["body"]!);
        Envelope.TryRead(ref body, out _, out var payload).ShouldBeTrue();
        return parser.ParseFrom(payload.ToArray());
    }

    public static async Task StreamAsync(this HttpContext context, params byte[][] envelopes)
    {
        if (!context.Response.HasStarted)
        {
            context.Response.ContentType ??= Stream;
        }

        foreach (var envelope in envelopes)
        {
            await context.Response.Body.WriteAsync(envelope, context.RequestAborted);
            await context.Response.Body.FlushAsync(context.RequestAborted);
        }
    }

    /// <summary>Keeps an answer open until the client leaves.</summary>
    public static async Task StayOpenAsync(this HttpContext context)
    {
        var left = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        using var registration = context.RequestAborted.Register(left.SetResult);
        await left.Task;
    }

    public static string Created(string id = FakeService.Id) =>
        $$"""{"sandboxID":"{{id}}","templateID":"base","clientID":"6532622b","envdVersion":"0.6.13","envdAccessToken":"{{FakeService.Token}}"}""";

    public static string Listed(string id, string? mark = null) =>
        $$"""{"sandboxID":"{{id}}","templateID":"base","clientID":"c","startedAt":"2026-11-21T10:00:00Z","endAt":"2026-11-21T10:05:00Z","cpuCount":2,"memoryMB":512,"diskSizeMB":1024,"state":"running","envdVersion":"0.6.13","metadata":{"interpreter-kernel.create":"{{mark}}"} }""";
}
