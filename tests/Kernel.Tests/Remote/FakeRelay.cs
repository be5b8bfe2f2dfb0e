using System.Buffers;
using System.IO.Pipelines;
using System.Text;
using System.Threading.Channels;
using InterpreterKernel.Kernel.Remote;
using InterpreterKernel.Protocol.Relay;

namespace InterpreterKernel.Kernel.Tests.Remote;

/// <summary>Stands for the sandbox: each attempt to attach comes out here, and the test plays the relay on it.</summary>
internal sealed class FakeRelay
{
    private readonly Channel<FakeAttachment> _attached = Channel.CreateUnbounded<FakeAttachment>();

    /// <summary>Whether something lies between the two that could change a byte.</summary>
    public bool NeedsChecksums { get; set; } = true;

    /// <summary>Thrown by the next attempts, in order; null lets one through.</summary>
    public Queue<Exception?> Failures { get; } = new();

    public Task<IRelayAttachment> AttachAsync(CancellationToken cancellationToken)
    {
        if (Failures.TryDequeue(out var failure) && failure is not null)
        {
            return Task.FromException<IRelayAttachment>(failure);
        }

        var attachment = new FakeAttachment { NeedsChecksums = NeedsChecksums };
        _attached.Writer.TryWrite(attachment);
        return Task.FromResult<IRelayAttachment>(attachment);
    }

    public async Task<FakeAttachment> NextAsync() => await _attached.Reader.ReadAsync().AsTask().WaitAsync(TimeSpan.FromSeconds(30));
}

/// <summary>One attachment with the relay's side in the test's hand.</summary>
internal sealed class FakeAttachment : IRelayAttachment
{
    private readonly Pipe _toRelay = new(new PipeOptions(pauseWriterThreshold: 0));
    private readonly Pipe _toBridge = new(new PipeOptions(pauseWriterThreshold: 0));
    private readonly TaskCompletionSource _stuck = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private TaskCompletionSource _drained = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private volatile bool _stalled;
    private volatile bool _disposed;
    private long _unread;

    public bool NeedsChecksums { get; init; }

    public bool IsDisposed => _disposed;

    /// <summary>Bytes sent to the bridge that it has not read.</summary>
    public long Unread => Interlocked.Read(ref _unread);

    /// <summary>Done when the bridge writes, and gets nowhere.</summary>
    public Task Stuck => _stuck.Task;

    public async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken)
    {
        if (Unread == 0)
        {
            _drained.TrySetResult();
        }

        while (true)
        {
            if (_toBridge.Reader.TryRead(out var result) && !result.Buffer.IsEmpty)
            {
                var take = result.Buffer.Slice(0, Math.Min(result.Buffer.Length, Math.Min(buffer.Length, 32 * 1024)));
                var count = (int)take.Length;
                take.CopyTo(buffer.Span);
                _toBridge.Reader.AdvanceTo(take.End);
                Interlocked.Add(ref _unread, -count);
                return count;
            }

            if (_disposed)
            {
                return 0;
            }

            result = await _toBridge.Reader.ReadAsync(cancellationToken);
            _toBridge.Reader.AdvanceTo(result.Buffer.Start);
        }
    }

    public async ValueTask WriteAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        if (_stalled)
        {
            _stuck.TrySetResult();
            await Task.Delay(Timeout.Infinite, cancellationToken);
        }

        await _toRelay.Writer.WriteAsync(bytes, cancellationToken);
    }

    public async ValueTask DisposeAsync()
    {
        _disposed = true;
        await _toRelay.Writer.CompleteAsync();
        _toBridge.Reader.CancelPendingRead();
    }

    /// <summary>From now on nothing the bridge writes arrives, as when only one direction of a network is dead.</summary>
    public void Stall() => _stalled = true;

    /// <summary>The next frame from the bridge; null when it has closed the attachment.</summary>
    public async Task<(RelayFrameKind Kind, ulong Number, byte[] Payload)?> FrameAsync()
    {
        while (true)
        {
            var result = await _toRelay.Reader.ReadAsync().AsTask().WaitAsync(TimeSpan.FromSeconds(30));
            var rest = result.Buffer;
            if (RelayCodec.TryRead(ref rest, out var frame))
            {
                var copy = (frame.Kind, frame.Number, frame.Payload.ToArray());
                _toRelay.Reader.AdvanceTo(rest.Start);
                return copy;
            }

            _toRelay.Reader.AdvanceTo(result.Buffer.Start, result.Buffer.End);
            if (result.IsCompleted)
            {
                return null;
            }
        }
    }

    /// <summary>The next frame of a kind; others before it are passed over.</summary>
    public async Task<(RelayFrameKind Kind, ulong Number, byte[] Payload)> FrameAsync(RelayFrameKind kind)
    {
        while (true)
        {
            var frame = await FrameAsync() ?? throw new InvalidOperationException("the bridge closed the attachment");
            if (frame.Kind == kind)
            {
                return frame;
            }
        }
    }

    /// <summary>Waits until the bridge has given this attachment up.</summary>
    public async Task GivenUpAsync()
    {
        while (await FrameAsync() is not null)
        {
            continue;
        }
    }

    public async Task SendAsync(params byte[][] frames)
    {
        foreach (var frame in frames)
        {
            Interlocked.Add(ref _unread, frame.Length);
            await _toBridge.Writer.WriteAsync(frame);
        }
    }

    /// <summary>Sends frames, and returns when the bridge has handled them and reads on, or has given the attachment up.</summary>
    public async Task SendAndSettleAsync(Task givenUp, params byte[][] frames)
    {
        _drained = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await SendAsync(frames);
        await Task.WhenAny(_drained.Task, givenUp).WaitAsync(TimeSpan.FromSeconds(30));
    }

    /// <summary>Reads the bridge's HELLO and answers it.</summary>
    public async Task<FakeAttachment> GreetAsync(ulong bulk = 0, ulong urgent = 0, string instance = "one", string? link = null, bool isChecked = true)
    {
        var hello = System.Text.Json.JsonElement.Parse((await FrameAsync(RelayFrameKind.Hello)).Payload);
        hello.GetProperty("checksums").GetBoolean().ShouldBe(NeedsChecksums);
        link ??= hello.GetProperty("link").GetString();
        await SendAsync(Hello(link!, bulk, urgent, instance, isChecked));
        return this;
    }

    public static byte[] Hello(string link, ulong bulk, ulong urgent, string instance, bool isChecked = true) => RelayCodec.Encode(RelayFrameKind.Hello, 0, Encoding.UTF8.GetBytes(
        $$"""{"version":1,"role":"relay","link":"{{link}}","instance":"{{instance}}","received":{"bulk":{{bulk}},"urgent":{{urgent}}},"checksums":{{(isChecked ? "true" : "false")}},"kernel":"none","pid":null,"relay_pid":1}"""));

    public static byte[] Message(ulong number, string text, RelayFrameKind kind = RelayFrameKind.Bulk) =>
        RelayCodec.Encode(kind, number, RelayMessage.Encode(RelayChannel.IOPub, [Encoding.UTF8.GetBytes(text)])[0].AsSpan()[RelayCodec.HeaderLength..^4]);
}
