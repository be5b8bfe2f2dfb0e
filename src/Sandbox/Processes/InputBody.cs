using System.Net;

namespace InterpreterKernel.Sandbox.Processes;

/// <summary>A request body that stays open: it lends its stream out, and ends when it is told to.</summary>
internal sealed class InputBody : HttpContent
{
    private readonly TaskCompletionSource<Stream> _opened = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>The stream to write to, once the connection is there.</summary>
    public Task<Stream> Opened => _opened.Task;

    /// <summary>Ends the body: properly, or with the reason why it can't be finished.</summary>
    public void End(Exception? reason)
    {
        if (reason is null)
        {
            _ended.TrySetResult();
        }
        else
        {
            _ended.TrySetException(reason);
            _ = _ended.Task.Exception; // nobody may be waiting, when the request never came as far as its body
        }
    }

    protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) => SerializeToStreamAsync(stream, context, CancellationToken.None);

    protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context, CancellationToken cancellationToken)
    {
        _opened.TrySetResult(stream);
        await _ended.Task.WaitAsync(cancellationToken);
    }

    protected override bool TryComputeLength(out long length)
    {
        length = 0;
        return false;
    }
}
