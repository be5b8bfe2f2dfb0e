using System.Buffers;
using System.Net;

namespace InterpreterKernel.SandboxHost.Ports;

/// <summary>The body of a forwarded request: each piece goes on as it comes.</summary>
internal sealed class RequestBody(Stream source) : HttpContent
{
    internal const int Piece = 64 * 1024;

    protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) => SerializeToStreamAsync(stream, context, CancellationToken.None);

    protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context, CancellationToken cancellationToken) =>
        CopyAsync(source, stream, cancellationToken);

    /// <summary>Unknown here; where the client told it, the header says it.</summary>
    protected override bool TryComputeLength(out long length)
    {
        length = 0;
        return false;
    }

    /// <summary>Copies piece by piece and keeps none back.</summary>
    internal static async Task CopyAsync(Stream from, Stream to, CancellationToken cancellation)
    {
        var buffer = ArrayPool<byte>.Shared.Rent(Piece);
        try
        {
            while (await from.ReadAsync(buffer, cancellation) is > 0 and var count)
            {
                await to.WriteAsync(buffer.AsMemory(0, count), cancellation);
                await to.FlushAsync(cancellation);
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }
}
