using Google.Protobuf;
using InterpreterKernel.Protocol.Connect;
using Microsoft.AspNetCore.Http;

namespace InterpreterKernel.SandboxHost.Envd;

/// <summary>The two forms of a call in the Connect protocol; failures of what is called are put into the right form here.</summary>
internal static class ConnectCalls
{
    /// <summary>Answers with one message, or with an error and its HTTP status.</summary>
    internal static async Task UnaryAsync<T>(HttpContext context, MessageParser<T> parser, Func<T, Task<IMessage>> call)
        where T : IMessage<T>, new()
    {
        if (await CodecAsync(context, streaming: false) is not { } codec)
        {
            return;
        }

        try
        {
            var request = await new ConnectRequestBody(context.Request, codec).ReadUnaryAsync(parser, context.RequestAborted);
            var answer = codec.Format(await call(request));
            context.Response.ContentType = "application/" + codec.Name;
            context.Response.ContentLength = answer.Length;
            await context.Response.Body.WriteAsync(answer, context.RequestAborted);
        }
        catch (ConnectException e)
        {
            var body = e.Error.ToJson();
            context.Response.StatusCode = e.Error.HttpStatus;
            context.Response.ContentType = "application/json";
            context.Response.ContentLength = body.Length;
            await context.Response.Body.WriteAsync(body, context.RequestAborted);
        }
    }

    /// <summary>Answers with a stream, which always ends with an end-of-stream envelope.</summary>
    internal static async Task StreamAsync(HttpContext context, Func<ConnectRequestBody, EventStream, Task> call)
    {
        if (await CodecAsync(context, streaming: true) is not { } codec)
        {
            return;
        }

        var stream = new EventStream(context.Response, codec);
        ConnectError? error = null;
        try
        {
            await call(new ConnectRequestBody(context.Request, codec), stream);
        }
        catch (ConnectException e)
        {
            error = e.Error;
        }

        await stream.EndAsync(error, context.RequestAborted);
    }

    /// <summary>What a Go server says of a path that it does not know.</summary>
    internal static async Task NotFoundAsync(HttpContext context)
    {
        context.Response.StatusCode = StatusCodes.Status404NotFound;
        context.Response.ContentType = "text/plain; charset=utf-8";
        await context.Response.WriteAsync("404 page not found\n", context.RequestAborted);
    }

    private static async Task<ConnectCodec?> CodecAsync(HttpContext context, bool streaming)
    {
        if (context.Request.Method != "POST")
        {
            context.Response.StatusCode = StatusCodes.Status405MethodNotAllowed;
            context.Response.Headers.Allow = "POST";
            return null;
        }

        if (ConnectCodec.For(context.Request.ContentType, streaming) is { } codec)
        {
            return codec;
        }

        context.Response.StatusCode = StatusCodes.Status415UnsupportedMediaType;
        context.Response.Headers["Accept-Post"] = streaming ? "application/connect+json, application/connect+proto" : "application/json, application/proto";
        await context.Response.CompleteAsync();
        return null;
    }
}
