using System.Runtime.CompilerServices;
using System.Text.Json;

namespace InterpreterKernel.Broker;

/// <summary>
/// An open claim: the connection that holds a sandbox. Disposing it, or the end of this process, closes the connection, and
/// the broker kills the sandbox at once, unless <see cref="HandoverAsync"/> was called.
/// </summary>
public sealed class Claim : IAsyncDisposable
{
    // The broker shows signs of life every 20 s.
    private static readonly TimeSpan s_longestSilence = TimeSpan.FromSeconds(50);
    private const int LongestLine = 64 * 1024;

    private readonly BrokerClient _client;
    private readonly HttpClient _http;
    private readonly HttpResponseMessage _response;
    private readonly TimeProvider _time;

    internal Claim(BrokerClient client, HttpClient http, HttpResponseMessage response, string id, TimeProvider time)
    {
        _client = client;
        _http = http;
        _response = response;
        _time = time;
        Id = id;
    }

    /// <summary>The claim's id.</summary>
    public string Id { get; }

    /// <summary>
    /// What happens to the claim, to be read once and to the end. The last one is <c>lost</c> or <c>failed</c>; when the broker itself is gone
    /// or silent for too long, that is said with the reason <c>broker</c>. Signs of life are left out.
    /// </summary>
    public async IAsyncEnumerable<ClaimEvent> ReadEventsAsync([EnumeratorCancellation] CancellationToken cancellation = default)
    {
        var ready = false;
        var reader = new LineReader(await _response.Content.ReadAsStreamAsync(cancellation), LongestLine);
        while (true)
        {
            var news = await NextAsync(reader, ready, cancellation);
            ready |= news.Event == ClaimEvents.Ready;
            if (news.Event != ClaimEvents.Alive)
            {
                yield return news;
            }

            if (news.Event is ClaimEvents.Lost or ClaimEvents.Failed)
            {
                yield break;
            }
        }
    }

    /// <summary>
    /// Before a restart: after this the sandbox outlives the claim, for the next claim with the same key, for 60 s.
    /// </summary>
    /// <returns>False when the claim is not known any more.</returns>
    /// <exception cref="BrokerException"><see cref="BrokerFault.Conflict"/>: it has no sandbox to keep.</exception>
    public Task<bool> HandoverAsync(CancellationToken cancellation = default) => _client.HandoverAsync(Id, cancellation);

    /// <summary>Gives the sandbox up; when this returns true, it is killed and its slot is free.</summary>
    /// <returns>False when the claim is not known any more.</returns>
    public Task<bool> ReleaseAsync(CancellationToken cancellation = default) => _client.ReleaseAsync(Id, cancellation);

    /// <summary>Tells the broker what died in the sandbox, for its <c>status</c> and log; only the holder sees such things.</summary>
    /// <returns>False when the claim is not known any more.</returns>
    /// <exception cref="BrokerException">The broker can't be reached, or did not take it.</exception>
    public Task<bool> ReportAsync(HolderReport report, CancellationToken cancellation = default) => _client.ReportAsync(Id, report, cancellation);

    /// <summary>Closes the connection.</summary>
    public ValueTask DisposeAsync()
    {
        _response.Dispose();
        _http.Dispose();
        return ValueTask.CompletedTask;
    }

    private async Task<ClaimEvent> NextAsync(LineReader reader, bool ready, CancellationToken cancellation)
    {
        using var attempt = new Attempt(s_longestSilence, _time, cancellation);
        try
        {
            return await reader.ReadAsync(attempt.Token) is { } line
                ? JsonSerializer.Deserialize(line.Span, BrokerJson.Default.ClaimEvent) ?? BrokerGone(ready, "it sent nonsense")
                : BrokerGone(ready, "it closed the connection");
        }
        catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
        {
            return BrokerGone(ready, $"it has shown no sign of life for {s_longestSilence.TotalSeconds:0} s");
        }
        catch (ObjectDisposedException)
        {
            return BrokerGone(ready, "this claim was closed here");
        }
        catch (Exception e) when (e is IOException or HttpRequestException or JsonException)
        {
            return BrokerGone(ready, e.Message);
        }
    }

    private static ClaimEvent BrokerGone(bool ready, string why) => new()
    {
        Event = ready ? ClaimEvents.Lost : ClaimEvents.Failed,
        Reason = ClaimReasons.Broker,
        Message = $"The broker is gone: {why}."
            + (ready ? " The sandbox ends with it, at the latest with its lease, within a minute; variables and files in it are lost." : "")
            + " The next claim starts a new broker.",
    };
}
