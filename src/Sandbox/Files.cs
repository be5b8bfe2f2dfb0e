using System.Text;
using InterpreterKernel.Sandbox.FileSystem;

namespace InterpreterKernel.Sandbox;

/// <summary>The files of a sandbox. Relative paths and <c>~</c> start at the home of the user.</summary>
public sealed class Files
{
    /// <summary>The largest file that is read into memory unless the caller says otherwise: 256 MiB.</summary>
    public const int DefaultMaxBytes = 256 * 1024 * 1024;

    private readonly EnvdClient _envd;

    internal Files(EnvdClient envd)
    {
        _envd = envd;
    }

    /// <summary>Reads a whole file.</summary>
    /// <param name="path">Which file.</param>
    /// <param name="user">Whose home relative paths start at. Default: the template's user.</param>
    /// <param name="maxBytes">A longer file is an error; read that one with <see cref="ReadStreamAsync"/>.</param>
    /// <param name="ct">Cancels the call.</param>
    public Task<byte[]> ReadAsync(string path, string? user = null, int maxBytes = DefaultMaxBytes, CancellationToken ct = default) =>
        FileTransfer.ReadAsync(_envd, path, user, maxBytes, ct);

    /// <summary>Reads a whole file as UTF-8.</summary>
    public async Task<string> ReadTextAsync(string path, string? user = null, CancellationToken ct = default) =>
        Encoding.UTF8.GetString(await ReadAsync(path, user, DefaultMaxBytes, ct));

    /// <summary>
    /// Opens a file for reading. Each read fails when nothing comes for as long as the request timeout. Disposing the stream
    /// early ends the transfer.
    /// </summary>
    public Task<Stream> ReadStreamAsync(string path, string? user = null, CancellationToken ct = default) =>
        FileTransfer.OpenReadAsync(_envd, path, user, ct);

    /// <summary>Writes a file, making its directories and replacing what is there. The whole write falls under the request timeout.</summary>
    public Task WriteAsync(string path, ReadOnlyMemory<byte> data, string? user = null, CancellationToken ct = default) =>
        FileTransfer.WriteAsync(_envd, path, new ReadOnlyMemoryContent(data), user, ct);

    /// <summary>Writes a file as UTF-8.</summary>
    public Task WriteTextAsync(string path, string text, string? user = null, CancellationToken ct = default) =>
        WriteAsync(path, Encoding.UTF8.GetBytes(text), user, ct);

    /// <summary>Writes a file from a stream, which is read to its end and not disposed.</summary>
    public Task WriteAsync(string path, Stream data, string? user = null, CancellationToken ct = default) =>
        FileTransfer.WriteAsync(_envd, path, new CopiedContent(data), user, ct);
}
