using System.Net;

namespace InterpreterKernel.Sandbox.FileSystem;

/// <summary>A body copied from the caller's stream, which stays the caller's: StreamContent would dispose it.</summary>
internal sealed class CopiedContent(Stream source) : HttpContent
{
    /// <summary>What the caller's stream threw, if it did: that is no failure of the sandbox.</summary>
    public Exception? SourceFault { get; private set; }

    /// <summary>Told after each piece that has gone out.</summary>
    public Action? Progress { get; set; }

    protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) => SerializeToStreamAsync(stream, context, CancellationToken.None);

    protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context, CancellationToken cancellationToken)
    {
        var buffer = new byte[64 * 1024];
        while (true)
        {
            int read;
            try
            {
                read = await source.ReadAsync(buffer, cancellationToken);
            }
            catch (Exception e)
            {
                SourceFault = e;
                throw;
            }

            if (read == 0)
            {
                return;
            }

            await stream.WriteAsync(buffer.AsMemory(0, read), cancellationToken);
            Progress?.Invoke();
        }
    }

    protected override bool TryComputeLength(out long length)
    {
        length = source.CanSeek ? source.Length - source.Position : 0;
        return source.CanSeek;
    }
}
