using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using Google.Protobuf;
using InterpreterKernel.Protocol.Envd;

namespace InterpreterKernel.SandboxHost.Tests;

/// <summary>Plain HTTP to a host, as the wire reference describes it. The client library is tested elsewhere.</summary>
internal sealed class HostClient(HttpClient http) : IDisposable
{
    internal HttpClient Http => http;

    public void Dispose() => http.Dispose();

    internal async Task<TestSandbox> CreateAsync(string body = """{"templateID":"base"}""", string path = "/v2/sandboxes")
    {
        using var response = await PostAsync(path, body);
        var text = await response.Content.ReadAsStringAsync();
        response.StatusCode.ShouldBe(HttpStatusCode.Created, text);
        var json = JsonDocument.Parse(text).RootElement;
        return new TestSandbox(this, json.GetProperty("sandboxID").GetString()!, json.GetProperty("envdAccessToken").GetString()!);
    }

    internal Task<HttpResponseMessage> PostAsync(string path, string body) =>
        http.PostAsync(new Uri(path, UriKind.Relative), new StringContent(body, Encoding.UTF8, "application/json"));

    internal Task<HttpResponseMessage> GetAsync(string path) => http.GetAsync(new Uri(path, UriKind.Relative));

    internal Task<HttpResponseMessage> DeleteAsync(string id) => http.DeleteAsync(new Uri("/sandboxes/" + id, UriKind.Relative));

    internal static async Task<JsonElement> JsonAsync(HttpResponseMessage response) =>
        JsonDocument.Parse(await response.Content.ReadAsStringAsync()).RootElement;
}

/// <summary>A sandbox seen through its two planes.</summary>
internal sealed class TestSandbox(HostClient client, string id, string token)
{
    internal string Id => id;

    internal string Token => token;

    internal HttpRequestMessage Request(HttpMethod method, string path, HttpContent? content = null)
    {
        var request = new HttpRequestMessage(method, path) { Content = content };
        request.Headers.Add("E2b-Sandbox-Id", id);
        request.Headers.Add("E2b-Sandbox-Port", "49983");
        request.Headers.Add("X-Access-Token", token);
        return request;
    }

    internal Task<HttpResponseMessage> SendAsync(HttpMethod method, string path, HttpContent? content = null) =>
        client.Http.SendAsync(Request(method, path, content), HttpCompletionOption.ResponseHeadersRead);

    internal async Task<HttpStatusCode> KillAsync()
    {
        using var response = await client.DeleteAsync(id);
        return response.StatusCode;
    }

    /// <summary>A unary call with the binary codec.</summary>
    internal async Task<HttpResponseMessage> CallAsync(string method, IMessage message)
    {
        var content = new ByteArrayContent(message.ToByteArray());
        content.Headers.ContentType = new MediaTypeHeaderValue("application/proto");
        return await SendAsync(HttpMethod.Post, "/process.Process/" + method, content);
    }

    /// <summary>A call of the filesystem service, binary codec: the answer, or the error's code.</summary>
    internal async Task<(T? Answer, string? Error)> FilesAsync<T>(string method, IMessage message, MessageParser<T> parser, int? timeoutMs = null)
        where T : class, IMessage<T>
    {
        var content = new ByteArrayContent(message.ToByteArray());
        content.Headers.ContentType = new MediaTypeHeaderValue("application/proto");
        var request = Request(HttpMethod.Post, "/filesystem.Filesystem/" + method, content);
        if (timeoutMs is { } limit)
        {
            request.Headers.Add("Connect-Timeout-Ms", limit.ToString(System.Globalization.CultureInfo.InvariantCulture));
        }

        using var response = await client.Http.SendAsync(request);
        return response.StatusCode == HttpStatusCode.OK
            ? (parser.ParseFrom(await response.Content.ReadAsByteArrayAsync()), null)
            : (null, (await HostClient.JsonAsync(response)).GetProperty("code").GetString());
    }

    /// <summary>Start or Connect, as a stream of events.</summary>
    internal async Task<TestStream> StreamAsync(string method, IMessage message, params (string Name, string Value)[] headers) =>
        await TestStream.OpenAsync(client.Http, Request(HttpMethod.Post, "/process.Process/" + method), message, headers);

    internal Task<TestStream> StartAsync(string script, bool stdin = false, params (string Name, string Value)[] headers) =>
        StreamAsync("Start", Bash(script, stdin), headers);

    /// <summary>Runs a shell script to its end.</summary>
    internal async Task<TestResult> RunAsync(string script)
    {
        await using var stream = await StartAsync(script);
        return await stream.ReadToEndAsync();
    }

    /// <summary>Runs a Python program to its end.</summary>
    internal async Task<TestResult> PythonAsync(string program)
    {
        var request = new StartRequest { Process = new ProcessConfig { Cmd = "python3", Args = { "-c", program } }, Stdin = false };
        await using var stream = await StreamAsync("Start", request);
        return await stream.ReadToEndAsync();
    }

    internal static StartRequest Bash(string script, bool stdin = false) =>
        new() { Process = new ProcessConfig { Cmd = "/bin/bash", Args = { "-c", script } }, Stdin = stdin };
}

internal sealed record TestResult(string Stdout, string Stderr, int ExitCode, bool Exited, string Status, string? Error);
