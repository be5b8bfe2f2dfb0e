using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace InterpreterKernel.Broker;

/// <summary>Talks to the broker of this user; with a launcher, starts it when it is needed.</summary>
public sealed class BrokerClient : IDisposable
{
    // Answers other than a claim's stream are lists; a broker that sends more is not ours.
    private const int LargestAnswer = 16 * 1024 * 1024;

    // A broker that is just stopping needs a moment until the next one can start.
    private static readonly TimeSpan s_startPatience = TimeSpan.FromSeconds(40);

    private readonly RuntimeDirectory _directory;
    private readonly BrokerLauncher? _launcher;
    private readonly TimeProvider _time;
    private readonly HttpClient _http;

    /// <summary>Makes a client; nothing is connected or started yet.</summary>
    /// <param name="directory">Where the broker is met.</param>
    /// <param name="launcher">Starts the broker for a claim when none runs; null: claims then fail.</param>
    /// <param name="time">The clock.</param>
    public BrokerClient(RuntimeDirectory directory, BrokerLauncher? launcher = null, TimeProvider? time = null)
    {
        ArgumentNullException.ThrowIfNull(directory);
        _directory = directory;
        _launcher = launcher;
        _time = time ?? TimeProvider.System;
        _http = new HttpClient(MakeHandler(directory.SocketPath))
        {
            BaseAddress = new Uri("http://localhost/"),
            Timeout = Timeout.InfiniteTimeSpan,
            MaxResponseContentBufferSize = LargestAnswer,
        };
    }

    /// <summary>
    /// Asks for a sandbox. The answer is the open claim; its events say when the sandbox is there. When no broker runs and
    /// this client has a launcher, one is started first.
    /// </summary>
    /// <exception cref="BrokerException">The broker cannot be reached or started, or refuses the request.</exception>
    public async Task<Claim> ClaimAsync(ClaimRequest request, CancellationToken cancellation = default)
    {
        var body = JsonSerializer.SerializeToUtf8Bytes(request, BrokerJson.Default.ClaimRequest);
        var started = _time.GetTimestamp();
        for (var attempt = 0; ; attempt++)
        {
            try
            {
                return await TryClaimAsync(body, cancellation);
            }
            catch (BrokerException e) when (e.Fault is BrokerFault.Unreachable or BrokerFault.Stopping
                && _launcher is not null
                && (attempt == 0 || _time.GetElapsedTime(started) < s_startPatience))
            {
                // Either none runs, or it stopped just when we came. A claim that got no answer holds nothing, so asking again is safe.
                await _launcher.EnsureRunningAsync(cancellation);
                if (attempt > 0)
                {
                    await Task.Delay(TimeSpan.FromMilliseconds(Math.Min(20 << Math.Min(attempt, 5), 500)), _time, cancellation);
                }
            }
        }
    }

    /// <summary>Slots, queue and claims.</summary>
    public Task<BrokerStatus> StatusAsync(CancellationToken cancellation = default) =>
        GetAsync("claims", BrokerJson.Default.BrokerStatus, cancellation);

    /// <summary>Asks for nothing but an answer.</summary>
    /// <exception cref="BrokerException">There is none.</exception>
    public async Task GreetAsync(CancellationToken cancellation = default)
    {
        using var response = await SendAsync(HttpMethod.Get, "claims", null, cancellation);
    }

    /// <summary>What happened since the broker started, in the text format of Prometheus.</summary>
    public async Task<string> MetricsAsync(CancellationToken cancellation = default)
    {
        using var response = await SendAsync(HttpMethod.Get, "metrics", null, cancellation);
        try
        {
            return await response.Content.ReadAsStringAsync(cancellation);
        }
        catch (Exception e) when (e is HttpRequestException or IOException)
        {
            throw new BrokerException(BrokerFault.Unreachable, $"The broker's answer to metrics cannot be read: {e.Message}", e);
        }
    }

    /// <summary>The sandboxes that the broker holds.</summary>
    public Task<IReadOnlyList<SandboxStatus>> SandboxesAsync(CancellationToken cancellation = default) =>
        GetAsync("sandboxes", BrokerJson.Default.IReadOnlyListSandboxStatus, cancellation);

    /// <summary>Kills a sandbox and waits until its slot is free.</summary>
    /// <returns>False when the broker has no such sandbox.</returns>
    public Task<bool> KillSandboxAsync(string id, CancellationToken cancellation = default) =>
        TryCommandAsync(HttpMethod.Delete, $"sandboxes/{Uri.EscapeDataString(id)}", cancellation);

    /// <summary>Tells the broker to go.</summary>
    /// <param name="force">Also when claims are open: kills their sandboxes.</param>
    /// <param name="cancellation">Cancels the call.</param>
    /// <exception cref="BrokerException"><see cref="BrokerFault.Conflict"/>: claims are open.</exception>
    public async Task ShutDownAsync(bool force = false, CancellationToken cancellation = default)
    {
        using var response = await SendAsync(HttpMethod.Post, force ? "shutdown?force" : "shutdown", null, cancellation);
    }

    /// <summary>Closes what is not in use. Claims have their own connections and go on.</summary>
    public void Dispose() => _http.Dispose();

    internal Task<bool> HandoverAsync(string claim, CancellationToken cancellation) =>
        TryCommandAsync(HttpMethod.Post, $"claims/{claim}/handover", cancellation);

    internal Task<bool> ReleaseAsync(string claim, CancellationToken cancellation) =>
        TryCommandAsync(HttpMethod.Delete, $"claims/{claim}", cancellation);

    internal Task<bool> ReportAsync(string claim, HolderReport report, CancellationToken cancellation) =>
        TryCommandAsync(
            HttpMethod.Post, $"claims/{claim}/report", cancellation, JsonSerializer.SerializeToUtf8Bytes(report, BrokerJson.Default.HolderReport));

    private static SocketsHttpHandler MakeHandler(string socketPath) => new()
    {
        UseProxy = false,
        UseCookies = false,
        AllowAutoRedirect = false,
        ActivityHeadersPropagator = null,

        // Disposing a claim's stream has to close its connection at once, not after waiting for the rest of it.
        ResponseDrainTimeout = TimeSpan.Zero,
        MaxResponseDrainSize = 0,
        ConnectCallback = async (_, cancellation) =>
        {
            var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            try
            {
                await socket.ConnectAsync(new UnixDomainSocketEndPoint(socketPath), cancellation);
                return new NetworkStream(socket, ownsSocket: true);
            }
            catch
            {
                socket.Dispose();
                throw;
            }
        },
    };

    private async Task<Claim> TryClaimAsync(byte[] body, CancellationToken cancellation)
    {
        // One connection, one claim: the connection is the claim, so it must not come from a pool.
        var http = new HttpClient(MakeHandler(_directory.SocketPath)) { BaseAddress = _http.BaseAddress, Timeout = Timeout.InfiniteTimeSpan };
        try
        {
            var response = await SendAsync(http, HttpMethod.Post, "claims", body, cancellation);
            var id = response.Headers.TryGetValues(BrokerEndpoints.ClaimHeader, out var values) ? values.FirstOrDefault() : null;
            return new Claim(this, http, response, id ?? "", _time);
        }
        catch
        {
            http.Dispose();
            throw;
        }
    }

    private async Task<T> GetAsync<T>(string path, JsonTypeInfo<T> type, CancellationToken cancellation)
    {
        using var response = await SendAsync(HttpMethod.Get, path, null, cancellation);
        try
        {
            var json = await response.Content.ReadAsByteArrayAsync(cancellation);
            return JsonSerializer.Deserialize(json, type) ?? throw new JsonException("null");
        }
        catch (Exception e) when (e is HttpRequestException or JsonException or IOException)
        {
            throw new BrokerException(BrokerFault.Unreachable, $"The broker's answer to {path} cannot be read: {e.Message}", e);
        }
    }

    private async Task<bool> TryCommandAsync(HttpMethod method, string path, CancellationToken cancellation, byte[]? body = null)
    {
        try
        {
            using var response = await SendAsync(method, path, body, cancellation);
            return true;
        }
        catch (BrokerException e) when (e.Fault == BrokerFault.NotFound)
        {
            return false;
        }
    }

    private Task<HttpResponseMessage> SendAsync(HttpMethod method, string path, byte[]? body, CancellationToken cancellation) =>
        SendAsync(_http, method, path, body, cancellation);

    private async Task<HttpResponseMessage> SendAsync(HttpClient http, HttpMethod method, string path, byte[]? body, CancellationToken cancellation)
    {
        using var request = new HttpRequestMessage(method, path);
        if (body is not null)
        {
            request.Content = new ByteArrayContent(body) { Headers = { ContentType = new MediaTypeHeaderValue("application/json") } };
        }

        HttpResponseMessage response;
        try
        {
            response = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancellation);
        }
        catch (HttpRequestException e)
        {
            throw new BrokerException(
                BrokerFault.Unreachable,
                $"No broker answers at {_directory.SocketPath} ({e.InnerException?.Message ?? e.Message}).",
                e);
        }

        if (response.IsSuccessStatusCode)
        {
            return response;
        }

        using (response)
        {
            var error = await ReadErrorAsync(response, cancellation);
            var fault = response.StatusCode switch
            {
                HttpStatusCode.NotFound => BrokerFault.NotFound,
                HttpStatusCode.Conflict => BrokerFault.Conflict,
                HttpStatusCode.ServiceUnavailable => BrokerFault.Stopping,
                HttpStatusCode.InternalServerError => BrokerFault.Unreachable,
                _ => BrokerFault.Invalid,
            };
            throw new BrokerException(fault, error);
        }
    }

    private static async Task<string> ReadErrorAsync(HttpResponseMessage response, CancellationToken cancellation)
    {
        try
        {
            var json = await response.Content.ReadAsByteArrayAsync(cancellation);
            if (JsonSerializer.Deserialize(json, BrokerJson.Default.BrokerError) is { Message: { Length: > 0 } message })
            {
                return message;
            }
        }
        catch (Exception e) when (e is HttpRequestException or JsonException or IOException)
        {
            return $"The broker answered {(int)response.StatusCode} and then broke off: {e.Message}";
        }

        return $"The broker answered {(int)response.StatusCode}.";
    }
}
