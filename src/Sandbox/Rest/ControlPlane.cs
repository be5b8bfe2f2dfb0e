using System.Net;
using System.Net.Http.Headers;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using InterpreterKernel.Sandbox.Http;

namespace InterpreterKernel.Sandbox.Rest;

/// <summary>
/// Sends one request of the control plane and reads its answer. The rules of repeating are here:
/// 429 with Retry-After changed nothing, so any call is repeated while its request timeout lasts; a broken connection or a
/// gateway's 502, 503, 504 is retried only where doing the thing twice is the same as doing it once.
/// </summary>
internal sealed class ControlPlane
{
    private const int MaxRepeats = 2;
    private static readonly TimeSpan s_firstPause = TimeSpan.FromMilliseconds(150);

    private readonly SandboxConnection _connection;
    private readonly Uri _base;

    public ControlPlane(SandboxConnection connection, string? envdToken = null, string? trafficToken = null)
    {
        _connection = connection;
        _base = ServiceAddress.Api(connection);
        if (ServiceAddress.FaultOf(_base) is { } fault)
        {
            throw new SandboxException(SandboxFault.InvalidRequest, $"The address of the control plane can't be used: {fault}.");
        }

        Where = connection.UnixSocket ?? ServiceAddress.Shown(_base);
        Secrets = new SandboxSecrets(connection.ApiKey, envdToken, trafficToken);
    }

    public SandboxConnection Connection => _connection;

    /// <summary>The address as it may be shown.</summary>
    public string Where { get; }

    public SandboxSecrets Secrets { get; }

    /// <summary>One request, repeated by the rules above. Error statuses are returned, not thrown.</summary>
    public async Task<ServiceAnswer> SendAsync(HttpMethod method, string path, byte[]? json, bool repeatable, string doing, CallClock clock)
    {
        for (var repeats = 0; ; repeats++)
        {
            ServiceAnswer answer;
            try
            {
                answer = await SendOnceAsync(method, path, json, clock.Token);
            }
            catch (Exception e) when (e is HttpRequestException or IOException
                && repeatable && repeats < MaxRepeats && !clock.Token.IsCancellationRequested)
            {
                await PauseAsync(s_firstPause * (1 << repeats), doing, clock);
                continue;
            }
            catch (Exception e)
            {
                throw Failure.Of(e, clock, doing, Where);
            }

            if (answer.Status == 429 && answer.RetryAfter is { } wait && clock.HasRoomFor(wait))
            {
                await PauseAsync(wait, doing, clock);
                repeats--; // being told to wait is no failure
                continue;
            }

            if (answer.Status is 502 or 503 or 504 && repeatable && repeats < MaxRepeats)
            {
                await PauseAsync(s_firstPause * (1 << repeats), doing, clock);
                continue;
            }

            return answer;
        }
    }

    /// <summary>
    /// Asks v2 first and v1 where the service has only that, and remembers which (per address and route). A 404 from v2 alone
    /// does not tell a missing route from a missing sandbox or template; what v1 answers does.
    /// </summary>
    public async Task<ServiceAnswer> SendNewestAsync(
        HttpMethod method, string route, (string Path, byte[]? Json) second, (string Path, byte[]? Json) first, bool repeatable, string doing, CallClock clock)
    {
        var known = _connection.Links.HasOnlyFirstVersion(_base, route);
        if (known == true)
        {
            return await SendAsync(method, first.Path, first.Json, repeatable, doing, clock);
        }

        var answer = await SendAsync(method, second.Path, second.Json, repeatable, doing, clock);
        if (answer.IsSuccess)
        {
            _connection.Links.Learn(_base, route, onlyFirstVersion: false);
        }
        else if (known is null && answer.Status is 404 or 405 or 501)
        {
            var older = await SendAsync(method, first.Path, first.Json, repeatable, doing, clock);
            if (older.Status is not (404 or 405 or 501))
            {
                if (older.IsSuccess)
                {
                    _connection.Links.Learn(_base, route, onlyFirstVersion: true);
                }

                return older;
            }
        }

        return answer;
    }

    public bool UsesFirstVersion(string route) => _connection.Links.HasOnlyFirstVersion(_base, route) == true;

    public SandboxException Refused(ServiceAnswer answer, string doing) => Failure.OfControlPlane(answer, doing, Where, Secrets);

    /// <summary>The body of a good answer.</summary>
    public T Read<T>(ServiceAnswer answer, JsonTypeInfo<T> type, string doing)
    {
        if (!answer.IsSuccess)
        {
            throw Refused(answer, doing);
        }

        try
        {
            return JsonSerializer.Deserialize(answer.Body, type) ?? throw new JsonException("the body is null");
        }
        catch (JsonException e)
        {
            throw Failure.OfBrokenConnection(e, doing, Where);
        }
    }

    /// <summary>
    /// True for a 404 in the service's own words. A 404 of something else (a wrong address, a proxy) must not pass for
    /// "there is no such sandbox".
    /// </summary>
    public bool SaysNotFound(ServiceAnswer answer) => answer.Status == 404 && ServiceWords.Of(answer.Body, Secrets).NumericCode == 404;

    private async Task<ServiceAnswer> SendOnceAsync(HttpMethod method, string path, byte[]? json, CancellationToken ct)
    {
        using var request = new HttpRequestMessage(method, ServiceAddress.At(_base, path)) { Version = HttpVersion.Version11 };
        UserAgent.AddTo(request);
        if (_connection.ApiKey is { Length: > 0 } key)
        {
            request.Headers.TryAddWithoutValidation("X-API-Key", HeaderText.Checked(key, "API key"));
        }
        else if (_connection.UnixSocket is null)
        {
            throw new SandboxException(SandboxFault.Authentication, "There is no API key. Set E2B_API_KEY, or give one in the connection.");
        }

        if (json is not null)
        {
            request.Content = new ByteArrayContent(json) { Headers = { ContentType = new MediaTypeHeaderValue("application/json") } };
        }

        using var response = await _connection.Links.For(_connection).SendAsync(request, ct);
        return await ServiceAnswer.ReadAsync(response, ct);
    }

    private async Task PauseAsync(TimeSpan pause, string doing, CallClock clock)
    {
        try
        {
            await clock.PauseAsync(pause);
        }
        catch (OperationCanceledException e)
        {
            throw Failure.Of(e, clock, doing, Where);
        }
    }
}
