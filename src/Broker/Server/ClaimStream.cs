using System.Text.Json;
using Microsoft.AspNetCore.Http;

namespace InterpreterKernel.Broker;

/// <summary>
/// A claim's answer: one JSON object a line, each flushed at once, with a sign of life in between. Lines never mix.
/// </summary>
internal sealed class ClaimStream : IAsyncDisposable
{
    private static readonly TimeSpan s_aliveInterval = TimeSpan.FromSeconds(20);
    private static readonly byte[] s_alive = Line(new ClaimEvent { Event = ClaimEvents.Alive });

    private readonly HttpResponse _response;
    private readonly SemaphoreSlim _turn = new(1);
    private readonly CancellationTokenSource _ending;
    private readonly Task _heartbeat;

    public ClaimStream(HttpResponse response, TimeProvider time, CancellationToken gone)
    {
        _response = response;
        _ending = CancellationTokenSource.CreateLinkedTokenSource(gone);
        _heartbeat = BeatAsync(time);
    }

    public async ValueTask TellAsync(ClaimEvent news, CancellationToken cancellation) => await WriteAsync(Line(news), cancellation);

    public async ValueTask DisposeAsync()
    {
        await _ending.CancelAsync();
        await _heartbeat.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _ending.Dispose();
        _turn.Dispose();
    }

    private static byte[] Line(ClaimEvent news)
    {
        var json = JsonSerializer.SerializeToUtf8Bytes(news, BrokerJson.Default.ClaimEvent);
        Array.Resize(ref json, json.Length + 1);
        json[^1] = (byte)'\n';
        return json;
    }

    private async Task WriteAsync(byte[] line, CancellationToken cancellation)
    {
        await _turn.WaitAsync(cancellation);
        try
        {
            await _response.Body.WriteAsync(line, cancellation);
            await _response.Body.FlushAsync(cancellation);
        }
        finally
        {
            _turn.Release();
        }
    }

    private async Task BeatAsync(TimeProvider time)
    {
        using var timer = new PeriodicTimer(s_aliveInterval, time);
        while (await timer.WaitForNextTickAsync(_ending.Token))
        {
            await WriteAsync(s_alive, _ending.Token);
        }
    }
}
