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

    /// <summary>
    /// Writes a file from a stream, which is read to its end and not disposed. The request timeout is for each piece of it, and for the answer.
    /// </summary>
    public Task WriteAsync(string path, Stream data, string? user = null, CancellationToken ct = default) =>
        FileTransfer.WriteAsync(_envd, path, new CopiedContent(data), user, ct);

    /// <summary>Writes several files, one after the other; a failure leaves the ones before it written.</summary>
    public async Task WriteAllAsync(IEnumerable<KeyValuePair<string, ReadOnlyMemory<byte>>> files, string? user = null, CancellationToken ct = default)
    {
        ArgumentNullException.ThrowIfNull(files);
        foreach (var (path, data) in files)
        {
            await WriteAsync(path, data, user, ct);
        }
    }

    /// <summary>What is in a directory; with a depth over 1, also what is in the directories below.</summary>
    public Task<IReadOnlyList<FileEntry>> ListAsync(string path, int depth = 1, string? user = null, CancellationToken ct = default) =>
        FilesystemCalls.ListAsync(_envd, path, depth, user, ct);

    /// <summary>What there is at a path.</summary>
    /// <exception cref="SandboxException"><see cref="SandboxFault.NotFound"/>: nothing.</exception>
    public Task<FileEntry> GetInfoAsync(string path, string? user = null, CancellationToken ct = default) => FilesystemCalls.StatAsync(_envd, path, user, ct);

    /// <summary>Whether there is anything at a path.</summary>
    public async Task<bool> ExistsAsync(string path, string? user = null, CancellationToken ct = default)
    {
        try
        {
            await FilesystemCalls.StatAsync(_envd, path, user, ct);
            return true;
        }
        catch (SandboxException e) when (e.Reason == SandboxFault.NotFound)
        {
            return false;
        }
    }

    /// <summary>Makes a directory and those above it.</summary>
    /// <returns>False when it was there already.</returns>
    public Task<bool> MakeDirectoryAsync(string path, string? user = null, CancellationToken ct = default) =>
        FilesystemCalls.MakeDirectoryAsync(_envd, path, user, ct);

    /// <summary>Gives a file or directory another name or place.</summary>
    public Task<FileEntry> MoveAsync(string source, string destination, string? user = null, CancellationToken ct = default) =>
        FilesystemCalls.MoveAsync(_envd, source, destination, user, ct);

    /// <summary>Removes a file, or a directory with all that is in it. That it is not there is no error.</summary>
    public Task RemoveAsync(string path, string? user = null, CancellationToken ct = default) => FilesystemCalls.RemoveAsync(_envd, path, user, ct);

    /// <summary>Watches a directory; returns when changes are seen from now on.</summary>
    public Task<DirectoryWatch> WatchAsync(string path, bool recursive = false, string? user = null, CancellationToken ct = default) =>
        DirectoryWatch.OpenAsync(_envd, path, recursive, user, ct);

    /// <summary>An address that anyone can read a file at (HTTP GET). It is a secret for as long as it holds.</summary>
    /// <param name="path">Which file.</param>
    /// <param name="user">Whose home relative paths start at.</param>
    /// <param name="lifetime">How long it holds. Default: as long as the sandbox.</param>
    public Uri DownloadUrl(string path, string? user = null, TimeSpan? lifetime = null) => SignedUrl.Make(_envd, path, "read", user, lifetime);

    /// <summary>An address that anyone can write a file at (HTTP POST of a form with one part, <c>file</c>). A secret, too.</summary>
    /// <param name="path">Which file.</param>
    /// <param name="user">Whose home relative paths start at.</param>
    /// <param name="lifetime">How long it holds. Default: as long as the sandbox.</param>
    public Uri UploadUrl(string path, string? user = null, TimeSpan? lifetime = null) => SignedUrl.Make(_envd, path, "write", user, lifetime);
}
