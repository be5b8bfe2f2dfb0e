using System.Threading.Channels;

namespace InterpreterKernel.SandboxHost.Sandboxes;

/// <summary>
/// One reader of a process's output: a Start or Connect stream. Its queue is short, and who does not read it holds up
/// the process and all other readers, as with envd: nothing is dropped and memory stays bounded.
/// </summary>
internal sealed class Subscription : IDisposable
{
    private const int Capacity = 16;

    private readonly Channel<ProcessOutput> _queue =
        Channel.CreateBounded<ProcessOutput>(new BoundedChannelOptions(Capacity) { SingleReader = true, AllowSynchronousContinuations = false });

    private readonly LocalProcess _process;

    internal Subscription(LocalProcess process)
    {
        _process = process;
    }

    internal ChannelReader<ProcessOutput> Reader => _queue.Reader;

    public void Dispose()
    {
        _process.Unsubscribe(this);
        _queue.Writer.TryComplete();
        while (_queue.Reader.TryRead(out var output))
        {
            output.Release();
        }
    }

    /// <summary>Queues a piece, waiting while the queue is full; a reader that left gets nothing.</summary>
    internal async ValueTask DeliverAsync(ProcessOutput output)
    {
        try
        {
            await _queue.Writer.WriteAsync(output);
        }
        catch (ChannelClosedException)
        {
            output.Release();
        }
    }

    internal void Complete() => _queue.Writer.TryComplete();
}
