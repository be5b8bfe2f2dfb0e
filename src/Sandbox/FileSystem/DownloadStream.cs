using InterpreterKernel.Sandbox.Http;

namespace InterpreterKernel.Sandbox.FileSystem;

/// <summary>A file on its way from the sandbox. Each read has the request timeout for itself.</summary>
internal sealed class DownloadStream(EnvdClient envd, HttpResponseMessage response, Stream inner, string doing) : Stream
{
    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => false;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        using var clock = new CallClock(envd.Connection, cancellationToken);
        try
        {
            return await inner.ReadAsync(buffer, clock.Token);
        }
        catch (Exception e)
        {
            throw await envd.ExplainAsync(e, clock, doing);
        }
    }

    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    // Without a timeout: a blocking read has no clock. Asynchronous reads are what this stream is for.
    public override int Read(byte[] buffer, int offset, int count) => inner.Read(buffer, offset, count);

    public override void Flush()
    {
    }

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            inner.Dispose();
            response.Dispose();
        }

        base.Dispose(disposing);
    }
}
