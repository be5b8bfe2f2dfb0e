using System.Buffers;
using System.IO.Pipelines;
using System.Runtime.CompilerServices;
using Google.Protobuf;
using InterpreterKernel.Protocol.Connect;

namespace InterpreterKernel.Sandbox.Http;

/// <summary>
/// The answer to a server-streaming call, read message by message. The bytes of a message lie in the read buffer and stay
/// there until the next one is asked for. One reader at a time.
/// </summary>
internal sealed class EnvelopeStream : IAsyncDisposable
{
    /// <summary>envd puts at most 32 KiB of output into a message; other services may put more, but not this much.</summary>
    private const int MaxEnvelope = 16 * 1024 * 1024;

    // Large enough that few messages lie across two segments and have to be joined.
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

    private EnvelopeStream(HttpResponseMessage response, Stream stream, SandboxConnection connection)
    {
        _response = response;
        _pipe = PipeReader.Create(stream, new StreamPipeReaderOptions(bufferSize: SegmentSize, minimumReadSize: 4096));
        _silenceLimit = TimeSpan.FromSeconds(Math.Clamp(Math.Ceiling(connection.KeepaliveInterval.TotalSeconds), 1, 3600)) * 2.5;
        _silence = new CancellationTokenSource(Timeout.InfiniteTimeSpan, connection.TimeProvider);
    }

    /// <summary>Cancelled when the stream was silent for too long.</summary>
    public CancellationToken Silence => _silence.Token;

    /// <summary>Cancelled when the stream was disposed.</summary>
    public CancellationToken Closed => _closed.Token;

    public static async Task<EnvelopeStream> OpenAsync(HttpResponseMessage response, SandboxConnection connection, CancellationToken ct)
    {
        try
        {
            return new EnvelopeStream(response, await response.Content.ReadAsStreamAsync(ct), connection);
        }
        catch
        {
            response.Dispose();
            throw;
        }
    }

    /// <summary>The next message; null after an end-of-stream envelope that carries no error.</summary>
    /// <param name="token">Ends the stream when cancelled. Must include <see cref="Silence"/> and <see cref="Closed"/> where these are to act.</param>
    /// <exception cref="StreamEndedException">The service ended the stream with an error.</exception>
    /// <exception cref="EndOfStreamException">The stream broke off.</exception>
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    public async ValueTask<ReadOnlyMemory<byte>?> ReadAsync(CancellationToken token)
    {
        if (Interlocked.Exchange(ref _busy, 1) == 1)
        {
            throw new InvalidOperationException("A stream has one reader at a time.");
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

                    return Joined(payload);
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

    /// <summary>The exception for a read that failed; the stream is over with it.</summary>
    /// <param name="e">What was thrown.</param>
    /// <param name="envd">Whose stream it is.</param>
    /// <param name="doing">The call in words.</param>
    /// <param name="after">What survives, and what to do next.</param>
    /// <param name="caller">The token of the caller.</param>
    public async Task<Exception> ExplainAsync(Exception e, EnvdClient envd, string doing, string after, CancellationToken caller)
    {
        var closed = _closed.IsCancellationRequested;
        var silent = _silence.IsCancellationRequested;
        await DisposeAsync();
        if (caller.IsCancellationRequested)
        {
            return new OperationCanceledException($"{doing} was cancelled. {after}", e, caller);
        }

        if (closed)
        {
            return new ObjectDisposedException(nameof(SandboxProcess), $"{doing} ended, because the stream was disposed. {after}");
        }

        if (e is StreamEndedException { Error: var error })
        {
            var failure = Failure.OfConnect(error, doing, null, envd.Secrets);
            return error.Code == ConnectCode.Unavailable ? await envd.WithProbeAsync(failure, doing) : failure;
        }

        if (silent)
        {
            return Failure.Unreachable(
                $"{doing} failed: {envd.Where} was silent for {Failure.Seconds(_silenceLimit)}, though it was asked for a sign of life every {Failure.Seconds(_silenceLimit / 2.5)}. {after}");
        }

        // Google's parser calls its complaints an IOException too.
        var broken = e is (IOException and not InvalidProtocolBufferException) or HttpRequestException or OperationCanceledException
            ? Failure.Unreachable($"{doing} failed: the connection to {envd.Where} broke ({e.GetBaseException().Message}). {after}", e)
            : Failure.OfBrokenConnection(e, doing, envd.Where);
        return await envd.WithProbeAsync(broken, doing);
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
