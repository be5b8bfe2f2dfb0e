using System.Buffers;
using System.IO.Pipelines;
using System.Runtime.CompilerServices;
using InterpreterKernel.Protocol.Connect;

namespace InterpreterKernel.Sandbox.Processes;

/// <summary>
/// The answer to Start or Connect, read event by event. Bytes of an event lie in the read buffer and stay there until the
/// next event is asked for. One reader at a time.
/// </summary>
internal sealed class ProcessEventStream : IAsyncDisposable
{
    /// <summary>envd puts at most 32 KiB into an event; other services may put more, but not this much.</summary>
    private const int MaxEnvelope = 16 * 1024 * 1024;

    // Large enough that few events lie across two segments and have to be joined.
    private const int SegmentSize = 256 * 1024;

    private readonly HttpResponseMessage _response;
    private readonly PipeReader _pipe;
    private readonly TimeSpan _silenceLimit;
    private readonly CancellationTokenSource _silence;
    private readonly CancellationTokenSource _closed = new();
    private ReadOnlySequence<byte> _buffer;
    private byte[] _joined = [];
    private bool _holdsBuffer;
    private bool _atEnd;
    private int _busy;

    private ProcessEventStream(HttpResponseMessage response, Stream stream, SandboxConnection connection)
    {
        _response = response;
        _pipe = PipeReader.Create(stream, new StreamPipeReaderOptions(bufferSize: SegmentSize, minimumReadSize: 4096));
        _silenceLimit = TimeSpan.FromSeconds(Math.Clamp(Math.Ceiling(connection.KeepaliveInterval.TotalSeconds), 1, 3600)) * 2.5;
        _silence = new CancellationTokenSource(Timeout.InfiniteTimeSpan, connection.TimeProvider);
    }

    /// <summary>Cancelled when the stream was silent for too long, or was closed here.</summary>
    public CancellationToken Silence => _silence.Token;

    public CancellationToken Closed => _closed.Token;

    public TimeSpan SilenceLimit => _silenceLimit;

    public static async Task<ProcessEventStream> OpenAsync(HttpResponseMessage response, SandboxConnection connection, CancellationToken ct)
    {
        try
        {
            return new ProcessEventStream(response, await response.Content.ReadAsStreamAsync(ct), connection);
        }
        catch
        {
            response.Dispose();
            throw;
        }
    }

    /// <summary>The next event; null after an end-of-stream envelope that carries no error.</summary>
    /// <param name="token">Ends the stream when cancelled. Must include <see cref="Silence"/> and <see cref="Closed"/> where these are to act.</param>
    /// <exception cref="StreamEndedException">The service ended the stream with an error.</exception>
    /// <exception cref="EndOfStreamException">The stream broke off.</exception>
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    public async ValueTask<ProcessEvent?> ReadAsync(CancellationToken token)
    {
        if (Interlocked.Exchange(ref _busy, 1) == 1)
        {
            throw new InvalidOperationException("A process stream has one reader at a time.");
        }

        try
        {
            while (true)
            {
                while (_holdsBuffer && Envelope.TryRead(ref _buffer, out var flags, out var payload, MaxEnvelope))
                {
                    if ((flags & Envelope.EndOfStream) != 0)
                    {
                        return Envelope.ReadEnd(payload) is { } error ? throw new StreamEndedException(error) : null;
                    }

                    var e = ProcessEvent.Parse(Joined(payload));
                    if (e.Kind is not (ProcessEventKind.Keepalive or ProcessEventKind.Unknown))
                    {
                        return e;
                    }
                }

                if (_holdsBuffer)
                {
                    _holdsBuffer = false;
                    var left = _buffer.Length;
                    _pipe.AdvanceTo(_buffer.Start, _buffer.End);
                    if (_atEnd)
                    {
                        throw new EndOfStreamException(left == 0
                            ? "it ended without the end-of-stream envelope"
                            : $"it broke off inside an envelope, after {left} bytes of it");
                    }
                }

                var reading = _pipe.ReadAsync(token);
                var result = reading.IsCompleted ? await reading : await WatchedAsync(reading);
                _buffer = result.Buffer;
                _atEnd = result.IsCompleted;
                _holdsBuffer = true;
            }
        }
        finally
        {
            Volatile.Write(ref _busy, 0);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _closed.CancelAsync();
        _response.Dispose(); // closes the connection, so that the sandbox sees its subscriber leave

        // A reader that is still inside keeps its buffers until it notices; then the collector has them.
        if (Interlocked.Exchange(ref _busy, 1) == 0)
        {
            await _pipe.CompleteAsync();
        }

        // Not disposed: the same reader may still be about to touch it. Without a timer it holds nothing.
        _silence.CancelAfter(Timeout.InfiniteTimeSpan);
    }

    // Only time spent waiting counts: a reader that is slow itself must not take the service for dead.
    private async ValueTask<ReadResult> WatchedAsync(ValueTask<ReadResult> reading)
    {
        _silence.CancelAfter(_silenceLimit);
        try
        {
            return await reading;
        }
        finally
        {
            if (!_closed.IsCancellationRequested)
            {
                _silence.CancelAfter(Timeout.InfiniteTimeSpan);
            }
        }
    }

    private ReadOnlyMemory<byte> Joined(in ReadOnlySequence<byte> payload)
    {
        if (payload.IsSingleSegment)
        {
            return payload.First;
        }

        if (_joined.Length < payload.Length)
        {
            _joined = new byte[Math.Max(payload.Length, 64 * 1024)];
        }

        payload.CopyTo(_joined);
        return _joined.AsMemory(0, (int)payload.Length);
    }
}

/// <summary>The service ended a stream with an error of its own.</summary>
internal sealed class StreamEndedException(ConnectError error) : Exception(error.Message)
{
    public ConnectError Error { get; } = error;
}
