using System.Net;
using System.Net.Http.Headers;
using Google.Protobuf;
using InterpreterKernel.Protocol.Connect;
using InterpreterKernel.Sandbox.Http;

namespace InterpreterKernel.Sandbox;

/// <summary>
/// Speaks to the daemon of one sandbox: unary Connect calls, server streams, and plain HTTP. Every request carries the
/// routing headers, so that one address can serve many sandboxes.
/// </summary>
internal sealed class EnvdClient
{
    /// <summary>Asks an embedded host to let a process listen (any value), and tells where it does (a path on this machine).</summary>
    public const string SocketHeader = "Interpreter-Kernel-Socket";

    /// <summary>How long to ask a sandbox for a sign of life after its connection broke.</summary>
    private static readonly TimeSpan s_probeLimit = TimeSpan.FromSeconds(3);

    private readonly Uri _base;
    private readonly string? _token;
    private readonly Version? _version;

    public EnvdClient(SandboxConnection connection, string sandboxId, string? token, string envdVersion, string? domain)
    {
        Connection = connection;
        SandboxId = sandboxId;
        Domain = domain;
        _token = token is null ? null : HeaderText.Checked(token, "sandbox access token");
        _version = Version.TryParse(envdVersion, out var version) ? version : null;
        _base = ServiceAddress.Envd(connection, sandboxId, domain);
        Where = connection.UnixSocket ?? ServiceAddress.Shown(_base);
        Secrets = new SandboxSecrets(connection.ApiKey, token);
    }

    public SandboxConnection Connection { get; }

    public string SandboxId { get; }

    public string? Domain { get; }

    public string? Token => _token;

    public string Where { get; }

    public SandboxSecrets Secrets { get; }

    /// <summary>Whether the daemon is known to be older than this. Of one that was attached to nothing is known: it counts as new.</summary>
    public bool IsOlderThan(int major, int minor, int build) => _version is { } v && v < new Version(major, minor, build);

    /// <summary>A request to the daemon, with routing, token and user, over HTTP/1.1.</summary>
    public HttpRequestMessage Request(HttpMethod method, string path, string? user)
    {
        var request = new HttpRequestMessage(method, ServiceAddress.At(_base, path)) { Version = HttpVersion.Version11 };
        UserAgent.AddTo(request);
        request.Headers.TryAddWithoutValidation("E2b-Sandbox-Id", SandboxId);
        request.Headers.TryAddWithoutValidation("E2b-Sandbox-Port", ServiceAddress.EnvdPort.ToString(System.Globalization.CultureInfo.InvariantCulture));
        if (_token is not null)
        {
            request.Headers.TryAddWithoutValidation("X-Access-Token", _token);
        }

        if (UserFor(user) is { } name)
        {
            request.Headers.TryAddWithoutValidation("Authorization", HeaderText.BasicUser(name));
        }

        return request;
    }

    /// <summary>The user to name: daemons before 0.4.0 have no default of their own.</summary>
    public string? UserFor(string? user) => user ?? (IsOlderThan(0, 4, 0) ? "user" : null);

    /// <summary>A Connect request; streams have their own content types.</summary>
    public HttpRequestMessage ConnectRequest(string method, HttpContent content, string contentType, string? user)
    {
        var request = Request(HttpMethod.Post, "/" + method, user);
        request.Headers.TryAddWithoutValidation("Connect-Protocol-Version", "1");
        request.Content = content;
        content.Headers.ContentType = new MediaTypeHeaderValue(contentType);
        return request;
    }

    /// <summary>A unary call in the binary codec.</summary>
    public async Task<T> CallAsync<T>(string method, IMessage message, MessageParser<T> parser, string doing, CancellationToken ct, string? user = null)
        where T : IMessage<T>
    {
        var answer = await UnaryAsync(method, message.ToByteArray(), "application/proto", doing, user, ct);
        try
        {
            return parser.ParseFrom(answer.Body);
        }
        catch (InvalidProtocolBufferException e)
        {
            throw Failure.OfBrokenConnection(e, doing, Where);
        }
    }

    /// <summary>A unary call in either codec; returns good answers only.</summary>
    public async Task<ServiceAnswer> UnaryAsync(string method, byte[] body, string contentType, string doing, string? user, CancellationToken ct)
    {
        using var clock = new CallClock(Connection, ct);
        using var request = ConnectRequest(method, new ByteArrayContent(body), contentType, user);
        try
        {
            using var response = await SendAsync(request, clock.Token);
            var answer = await ServiceAnswer.ReadAsync(response, clock.Token);
            return answer.IsSuccess ? answer : throw Failure.OfEnvd(answer, doing, SandboxId, Where, Secrets);
        }
        catch (Exception e)
        {
            throw await ExplainAsync(e, clock, doing);
        }
    }

    /// <summary>Starts a server stream: one message up, then envelopes down. The answer is 200 and still open.</summary>
    public async Task<HttpResponseMessage> OpenStreamAsync(
        string method, byte[] envelope, string contentType, string doing, string? user, TimeSpan? timeout, bool listen, CancellationToken ct)
    {
        using var request = ConnectRequest(method, new ByteArrayContent(envelope), contentType, user);
        if (listen && Connection.UnixSocket is not null)
        {
            request.Headers.TryAddWithoutValidation(SocketHeader, "listen");
        }

        // Neither header is ever 0: the first would start the process and fail the stream, the second crashes old daemons.
        var keepalive = Math.Clamp((long)Math.Ceiling(Connection.KeepaliveInterval.TotalSeconds), 1, 3600);
        request.Headers.TryAddWithoutValidation("Keepalive-Ping-Interval", keepalive.ToString(System.Globalization.CultureInfo.InvariantCulture));
        if (timeout is { } limit && limit > TimeSpan.Zero)
        {
            var milliseconds = (long)Math.Clamp(Math.Ceiling(limit.TotalMilliseconds), 1, 9_999_999_999);
            request.Headers.TryAddWithoutValidation("Connect-Timeout-Ms", milliseconds.ToString(System.Globalization.CultureInfo.InvariantCulture));
        }

        var response = await SendAsync(request, ct);
        try
        {
            if (response.StatusCode != HttpStatusCode.OK)
            {
                throw Failure.OfEnvd(await ServiceAnswer.ReadAsync(response, ct), doing, SandboxId, Where, Secrets);
            }

            if (response.Content.Headers.ContentType?.MediaType is { } type && type != contentType)
            {
                throw new EnvelopeException($"a stream of {contentType} was asked for, and {type} came");
            }

            return response;
        }
        catch
        {
            response.Dispose();
            throw;
        }
    }

    public Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken ct) =>
        Connection.Links.For(Connection).SendAsync(request, ct);

    /// <summary>True when the daemon answers; false when the edge says that the sandbox is not there.</summary>
    public async Task<bool> IsHealthyAsync(CancellationToken ct)
    {
        using var clock = new CallClock(Connection, ct);
        return await IsHealthyAsync(clock);
    }

    /// <summary>
    /// The exception for a failed call. When a connection broke, the sandbox is asked whether it is still there, because
    /// "the network failed" and "the sandbox is gone" want different answers from the caller.
    /// </summary>
    public async Task<Exception> ExplainAsync(Exception e, CallClock clock, string doing)
    {
        var failure = Failure.Of(e, clock, doing, Where);
        return failure is SandboxException known ? await WithProbeAsync(known, doing) : failure;
    }

    public async Task<SandboxException> WithProbeAsync(SandboxException failure, string doing)
    {
        var mayBeLost = failure.Reason == SandboxFault.Unreachable
            && failure.HttpStatus is null
            && (failure.InnerException is not { } cause || !Failure.NeverSent(cause));
        if (!mayBeLost)
        {
            return failure;
        }

        try
        {
            using var clock = new CallClock(s_probeLimit, Connection.TimeProvider, CancellationToken.None);
            return await IsHealthyAsync(clock) ? failure : Failure.Lost(SandboxId, doing, failure.ServiceMessage, failure.InnerException ?? failure);
        }
        catch (Exception e) when (e is SandboxException or OperationCanceledException)
        {
            return failure; // no answer is no proof: what is known stays what it was
        }
    }

    private async Task<bool> IsHealthyAsync(CallClock clock)
    {
        const string Doing = "Asking whether the sandbox runs";
        try
        {
            using var request = Request(HttpMethod.Get, "/health", null);
            using var response = await SendAsync(request, clock.Token);
            var answer = await ServiceAnswer.ReadAsync(response, clock.Token);
            if (answer.IsSuccess)
            {
                return true;
            }

            return Failure.OfEnvd(answer, Doing, SandboxId, Where, Secrets) is var failure && failure is SandboxLostException
                ? false
                : throw failure;
        }
        catch (Exception e)
        {
            throw Failure.Of(e, clock, Doing, Where);
        }
    }
}
