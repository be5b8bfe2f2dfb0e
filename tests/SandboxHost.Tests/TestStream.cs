using System.Buffers;
using System.IO.Pipelines;
using System.Net;
using System.Net.Http.Headers;
using System.Text;
using Google.Protobuf;
using InterpreterKernel.Protocol.Connect;
using InterpreterKernel.Protocol.Envd;

namespace InterpreterKernel.SandboxHost.Tests;

/// <summary>One Start or Connect stream, binary codec.</summary>
internal sealed class TestStream : IAsyncDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    private readonly HttpResponseMessage _response;
    private readonly PipeReader _reader;

    private TestStream(HttpResponseMessage response, Stream body)
    {
        _response = response;
        _reader = PipeReader.Create(body);
    }

    internal uint Pid { get; private set; }

    /// <summary>The error that the stream ended with.</summary>
    internal ConnectError? Error { get; private set; }

    internal bool Ended { get; private set; }

    public async ValueTask DisposeAsync()
    {
        await _reader.CompleteAsync();
        _response.Dispose();
    }

    internal static async Task<TestStream> OpenAsync(HttpClient http, HttpRequestMessage request, IMessage message, (string Name, string Value)[] headers)
    {
        var body = new ArrayBufferWriter<byte>();
        Envelope.WriteHeader(body, 0, message.CalculateSize());
        message.WriteTo(body);
        request.Content = new ByteArrayContent(body.WrittenSpan.ToArray());
        request.Content.Headers.ContentType = new MediaTypeHeaderValue("application/connect+proto");
        foreach (var (name, value) in headers)
        {
            request.Headers.TryAddWithoutValidation(name, value);
        }

        var response = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        response.StatusCode.ShouldBe(HttpStatusCode.OK);
        var stream = new TestStream(response, await response.Content.ReadAsStreamAsync());
        var first = await stream.NextAsync();
        if (first is not null)
        {
            first.EventCase.ShouldBe(ProcessEvent.EventOneofCase.Start);
            stream.Pid = first.Start.Pid;
        }

        return stream;
    }

    /// <summary>The next event; null after the end-of-stream envelope.</summary>
    internal async Task<ProcessEvent?> NextAsync()
    {
        while (true)
        {
            var result = await _reader.ReadAsync().AsTask().WaitAsync(s_patience);
            var buffer = result.Buffer;
            if (Envelope.TryRead(ref buffer, out var flags, out var payload))
            {
                if ((flags & Envelope.EndOfStream) != 0)
                {
                    Error = Envelope.ReadEnd(payload);
                    Ended = true;
                    return null;
                }

                var message = StartResponse.Parser.ParseFrom(payload);
                _reader.AdvanceTo(buffer.Start);
                return message.Event;
            }

            if (result.IsCompleted)
            {
                throw new IOException("the stream ends without an end-of-stream envelope");
            }

            _reader.AdvanceTo(buffer.Start, buffer.End);
        }
    }

    /// <summary>Reads until the output holds a text.</summary>
    internal async Task<string> ReadUntilAsync(string text)
    {
        var output = new StringBuilder();
        while (!output.ToString().Contains(text, StringComparison.Ordinal))
        {
            var next = await NextAsync() ?? throw new IOException($"the stream ended ({Error}) before '{text}'; it had: {output}");
            output.Append(next.Data?.Stdout?.ToStringUtf8()).Append(next.Data?.Stderr?.ToStringUtf8());
        }

        return output.ToString();
    }

    internal async Task<TestResult> ReadToEndAsync()
    {
        using var stdout = new MemoryStream();
        using var stderr = new MemoryStream();
        ProcessEvent.Types.EndEvent? end = null;
        while (await NextAsync() is { } next)
        {
            switch (next.EventCase)
            {
                case ProcessEvent.EventOneofCase.Data when next.Data.OutputCase == ProcessEvent.Types.DataEvent.OutputOneofCase.Stdout:
                    stdout.Write(next.Data.Stdout.Span);
                    break;
                case ProcessEvent.EventOneofCase.Data:
                    stderr.Write(next.Data.Stderr.Span);
                    break;
                case ProcessEvent.EventOneofCase.End:
                    end = next.End;
                    break;
            }
        }

        end.ShouldNotBeNull($"the stream ended without an end event: {Error}");
        return new TestResult(
            Encoding.UTF8.GetString(stdout.ToArray()), Encoding.UTF8.GetString(stderr.ToArray()), end.ExitCode, end.Exited, end.Status, end.HasError ? end.Error : null);
    }
}
