using System.Buffers;
using InterpreterKernel.Protocol.Connect;
using InterpreterKernel.Protocol.Envd;
using InterpreterKernel.Sandbox.Http;
using InterpreterKernel.Sandbox.Processes;

namespace InterpreterKernel.Sandbox;

/// <summary>
/// Input to a process over one long request (envd's StreamInput). Each write goes out at once and is not answered: that the
/// process has died is seen on its output stream, not here. Disposing ends the request; the process keeps its standard
/// input, and another stream can go on.
/// </summary>
/// <remarks>Writes may come from several threads; each is whole. A write waits when the process does not read.</remarks>
public sealed class InputStream : IAsyncDisposable
{
    /// <summary>What goes into one envelope; longer writes take several.</summary>
    private const int MaxPiece = 1024 * 1024;

    private static readonly TimeSpan s_disposalLimit = TimeSpan.FromSeconds(5);

    private readonly EnvdClient _envd;
    private readonly string _doing;
    private readonly bool _terminal;
    private readonly InputBody _body;
    private readonly HttpRequestMessage _request;
    private readonly CancellationTokenSource _abort = new();
    private readonly SemaphoreSlim _turn = new(1, 1);
    private readonly CancellationTokenSource _ending = new();
    private Task<HttpResponseMessage>? _answer;
    private Task _keepalive = Task.CompletedTask;
    private Stream? _stream;
    private Exception? _fault;
    private bool _completed;
    private bool _wroteSinceTick;

    private InputStream(EnvdClient envd, uint pid, bool terminal)
    {
        _envd = envd;
        _doing = $"Sending input to process {pid}";
        _terminal = terminal;
        _body = new InputBody();
        _request = envd.ConnectRequest(ProcessCalls.Service + "StreamInput", _body, ConnectContent.Stream, null);
    }

    internal static async Task<InputStream> OpenAsync(EnvdClient envd, uint pid, bool terminal, CancellationToken ct)
    {
        using var clock = new CallClock(envd.Connection, ct);
        var input = new InputStream(envd, pid, terminal);
        try
        {
            // Over HTTP/1.1 this task ends only after the body: the answer is not read before.
            input._answer = envd.SendAsync(input._request, input._abort.Token);
            var opened = input._body.Opened;
            if (await Task.WhenAny(opened, input._answer).WaitAsync(clock.Token) == input._answer && !opened.IsCompletedSuccessfully)
            {
                using var early = await input._answer;
                throw Failure.OfEnvd(await ServiceAnswer.ReadAsync(early, clock.Token), input._doing, envd.SandboxId, envd.Where, envd.Secrets);
            }

            input._stream = await opened;
            var start = new StreamInputRequest { Start = new StreamInputRequest.Types.StartEvent { Process = ProcessCalls.Selector(pid) } };
            await input._stream.WriteAsync(ConnectContent.Envelope(start), clock.Token);
            await input._stream.FlushAsync(clock.Token);
            input._keepalive = input.KeepAliveAsync();
            return input;
        }
        catch (Exception e)
        {
            await input.AbortAsync(e);
            input.Release();
            throw await envd.ExplainAsync(e, clock, input._doing);
        }
    }

    /// <summary>Sends <paramref name="data"/> and returns when it is on its way.</summary>
    /// <exception cref="OperationCanceledException">
    /// Cancelled. When that happened in the middle of sending, the request is ended with it, because half a message can't be
    /// taken back; later writes say so.
    /// </exception>
    /// <exception cref="SandboxException">The request had failed, now or before.</exception>
    public async ValueTask WriteAsync(ReadOnlyMemory<byte> data, CancellationToken ct = default)
    {
        await _turn.WaitAsync(ct);
        try
        {
            if (_fault is not null || _completed)
            {
                throw Refusal();
            }

            ct.ThrowIfCancellationRequested(); // nothing is sent yet, so nothing is harmed
            for (var at = 0; at < data.Length; at += MaxPiece)
            {
                await SendAsync(data.Slice(at, Math.Min(MaxPiece, data.Length - at)), ct);
            }

            _wroteSinceTick = true;
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>Ends the request and waits for the service to confirm that it took everything.</summary>
    /// <exception cref="SandboxException">It did not: the process is gone, for example.</exception>
    public async Task CompleteAsync(CancellationToken ct = default)
    {
        using var clock = new CallClock(_envd.Connection, ct);
        try
        {
            await _turn.WaitAsync(clock.Token);
            try
            {
                if (_fault is not null)
                {
                    throw Refusal();
                }

                _completed = true;
                _body.End(null);
            }
            finally
            {
                _turn.Release();
            }

            using var response = await _answer!.WaitAsync(clock.Token);
            var answer = await ServiceAnswer.ReadAsync(response, clock.Token);
            if (!answer.IsSuccess)
            {
                throw Failure.OfEnvd(answer, _doing, _envd.SandboxId, _envd.Where, _envd.Secrets);
            }

            CheckEnd(answer.Body);
        }
        catch (StreamEndedException e)
        {
            throw Failure.OfConnect(e.Error, _doing, null, _envd.Secrets);
        }
        catch (Exception e)
        {
            throw await _envd.ExplainAsync(e, clock, _doing);
        }
    }

    /// <summary>Ends the request at once, asking nobody. What <see cref="WriteAsync"/> has sent is on its way; later writes fail.</summary>
    public void Abort()
    {
        _fault ??= new ObjectDisposedException(nameof(InputStream), $"{_doing} was ended here.");
        _body.End(_fault);
        _abort.Cancel();
    }

    /// <summary>Ends the request, within five seconds, and does not throw.</summary>
    public async ValueTask DisposeAsync()
    {
        if (_ending.IsCancellationRequested)
        {
            return;
        }

        await _ending.CancelAsync();
        await _keepalive;
        if (_fault is null && !_completed)
        {
            using var limit = new CancellationTokenSource(s_disposalLimit, _envd.Connection.TimeProvider);
            try
            {
                await CompleteAsync(limit.Token);
            }
            catch (Exception e) when (e is SandboxException or OperationCanceledException)
            {
                _fault ??= e; // nobody is left to tell; who wants to know calls CompleteAsync
            }
        }

        await AbortAsync(new ObjectDisposedException(nameof(InputStream)));
        Release();
    }

    // One envelope in one write and one flush, so that it leaves as one chunk and at once.
    private async ValueTask SendAsync(ReadOnlyMemory<byte> piece, CancellationToken ct)
    {
        var buffer = ArrayPool<byte>.Shared.Rent(InputEnvelope.MaxOverhead + piece.Length);
        try
        {
            var length = InputEnvelope.Write(buffer, piece.Span, _terminal);

            // Not cancelled by token: that would cut the message somewhere. The whole request is dropped instead.
            await using (ct.UnsafeRegister(static abort => ((CancellationTokenSource)abort!).Cancel(), _abort))
            {
                ct.ThrowIfCancellationRequested();
                await _stream!.WriteAsync(buffer.AsMemory(0, length), CancellationToken.None);
                await _stream.FlushAsync(CancellationToken.None);
            }

            // The write may have been done just when the request was dropped under it.
            _abort.Token.ThrowIfCancellationRequested();
        }
        catch (Exception e)
        {
            await AbortAsync(e);
            using var clock = new CallClock(Timeout.InfiniteTimeSpan, _envd.Connection.TimeProvider, ct);
            var cause = e is OperationCanceledException && !ct.IsCancellationRequested ? new IOException("the request was ended", e) : e;
            var failure = await _envd.ExplainAsync(cause, clock, _doing);
            _fault = failure is OperationCanceledException
                ? Failure.Unreachable($"{_doing} failed: the request was ended when a write was cancelled half-way. Open a new input stream.", e)
                : failure;
            throw failure;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    // Fills silence, so that nothing between us and the sandbox takes the request for dead and drops it.
    private async Task KeepAliveAsync()
    {
        var filler = ConnectContent.Envelope(new StreamInputRequest { Keepalive = new StreamInputRequest.Types.KeepAlive() });
        try
        {
            using var timer = new PeriodicTimer(_envd.Connection.KeepaliveInterval, _envd.Connection.TimeProvider);
            while (await timer.WaitForNextTickAsync(_ending.Token))
            {
                var idle = !_wroteSinceTick;
                _wroteSinceTick = false;
                if (!idle || !await _turn.WaitAsync(TimeSpan.Zero, _ending.Token))
                {
                    continue; // somebody writes just now, which is as good
                }

                try
                {
                    if (_fault is not null || _completed)
                    {
                        return;
                    }

                    await _stream!.WriteAsync(filler, _abort.Token);
                    await _stream.FlushAsync(_abort.Token);
                }
                finally
                {
                    _turn.Release();
                }
            }
        }
        catch (OperationCanceledException) when (_ending.IsCancellationRequested)
        {
            return;
        }
        catch (Exception e)
        {
            // The next write tells.
            _fault ??= Failure.OfBrokenConnection(e, _doing, _envd.Where);
            await AbortAsync(e);
        }
    }

    private static void CheckEnd(byte[] body)
    {
        var rest = new ReadOnlySequence<byte>(body);
        while (Envelope.TryRead(ref rest, out var flags, out var payload))
        {
            if ((flags & Envelope.EndOfStream) != 0)
            {
                if (Envelope.ReadEnd(payload) is { } error)
                {
                    throw new StreamEndedException(error);
                }

                return;
            }
        }

        throw new EndOfStreamException("the answer ended without the end-of-stream envelope");
    }

    private Exception Refusal() => _fault switch
    {
        SandboxLostException e => new SandboxLostException(e.SandboxId, e.Message, e),
        SandboxException e => new SandboxException(e.Reason, e.Message, e) { HttpStatus = e.HttpStatus, ServiceMessage = e.ServiceMessage },
        { } e => new SandboxException(SandboxFault.Unreachable, $"{_doing} failed before: {e.Message}", e),
        null => new ObjectDisposedException(nameof(InputStream), $"{_doing} is over: the stream was completed."),
    };

    private async Task AbortAsync(Exception reason)
    {
        _body.End(reason);
        await _abort.CancelAsync();
    }

    // The answer may still be on its way to failing; it is looked at, so that nothing goes unobserved, and let go.
    private void Release()
    {
        _answer?.ContinueWith(
            static (task, request) =>
            {
                if (task.IsCompletedSuccessfully)
                {
                    task.Result.Dispose();
                }

                _ = task.Exception;
                ((HttpRequestMessage)request!).Dispose();
            },
            _request,
            CancellationToken.None,
            TaskContinuationOptions.ExecuteSynchronously,
            TaskScheduler.Default);
    }
}
