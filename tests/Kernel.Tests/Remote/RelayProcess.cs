using System.Diagnostics;
using System.Globalization;
using System.Runtime.CompilerServices;
using InterpreterKernel.Kernel.Remote;

namespace InterpreterKernel.Kernel.Tests.Remote;

/// <summary>
/// The real relay.py in a directory of its own, as the sandbox would run it. Its attachments can be cut after any number of bytes, in
/// either direction. At the end nothing of it may be left.
/// </summary>
internal sealed class RelayProcess : IAsyncDisposable
{
    private readonly string[] _options;
    private readonly List<ProcessAttachment> _attachments = [];
    private readonly Lock _lock = new();

    public RelayProcess(params string[] options)
    {
        _options = options;
        Folder = Directory.CreateTempSubdirectory("relay-test-").FullName;
    }

    public string Folder { get; }

    public int Attached
    {
        get
        {
            lock (_lock)
            {
                return _attachments.Count;
            }
        }
    }

    /// <summary>Bytes each coming attachment may read and write before it is cut; null for no limit.</summary>
    public Func<(long Read, long Written)>? CutAfter { get; set; }

    public Task<IRelayAttachment> AttachAsync(CancellationToken cancellationToken)
    {
        var start = new ProcessStartInfo("/usr/bin/python3", ["-S", Script(), "attach", "--serve", "--dir", Folder, .. _options])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        };
        var (read, written) = CutAfter?.Invoke() ?? (long.MaxValue, long.MaxValue);
        var attachment = new ProcessAttachment(Process.Start(start)!, read, written);
        lock (_lock)
        {
            _attachments.Add(attachment);
        }

        return Task.FromResult<IRelayAttachment>(attachment);
    }

    /// <summary>Cuts the attachment that is in use.</summary>
    public async Task CutAsync()
    {
        ProcessAttachment last;
        lock (_lock)
        {
            last = _attachments[^1];
        }

        await last.DisposeAsync();
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var attachment in _attachments)
        {
            await attachment.DisposeAsync();
        }

        // A test that did not end the daemon has it killed here; the kernel has its connection file in Folder on its command line.
        using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        while (ProcessesOf(Folder) is { Count: > 0 } left)
        {
            foreach (var pid in left)
            {
                using var kill = Process.Start("/bin/kill", ["-KILL", pid.ToString(CultureInfo.InvariantCulture)]);
                await kill.WaitForExitAsync(patience.Token);
            }
        }

        Directory.Delete(Folder, recursive: true);
    }

    /// <summary>Processes with a folder on their command line.</summary>
    public static List<int> ProcessesOf(string folder)
    {
        var found = new List<int>();
        foreach (var directory in Directory.EnumerateDirectories("/proc"))
        {
            if (int.TryParse(Path.GetFileName(directory), out var pid) && CommandLine(directory).Contains(folder, StringComparison.Ordinal))
            {
                found.Add(pid);
            }
        }

        return found;
    }

    private static string CommandLine(string directory)
    {
        try
        {
            return File.ReadAllText(directory + "/cmdline");
        }
        catch (IOException)
        {
            return "";      // it has just ended
        }
    }

    private static string Script([CallerFilePath] string here = "") =>
        Path.GetFullPath(Path.Combine(Path.GetDirectoryName(here)!, "../../../src/Kernel/Relay/relay.py"));

    private sealed class ProcessAttachment(Process process, long mayRead, long mayWrite) : IRelayAttachment
    {
        private readonly CancellationTokenSource _closed = new();
        private long _read;
        private long _written;
        private int _disposed;

        public bool NeedsChecksums => true;

        public async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken)
        {
            using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _closed.Token);
            var room = (int)Math.Min(Math.Min(buffer.Length, 32 * 1024), mayRead - _read);
            if (room == 0)
            {
                throw new IOException("cut while reading");
            }

            var count = await process.StandardOutput.BaseStream.ReadAsync(buffer[..room], either.Token);
            _read += count;
            return count;
        }

        public async ValueTask WriteAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
        {
            var room = (int)Math.Min(bytes.Length, mayWrite - _written);
            await process.StandardInput.BaseStream.WriteAsync(bytes[..room], cancellationToken);
            await process.StandardInput.BaseStream.FlushAsync(cancellationToken);
            _written += room;
            if (room < bytes.Length)
            {
                throw new IOException("cut while writing");
            }
        }

        public async ValueTask DisposeAsync()
        {
            if (Interlocked.Exchange(ref _disposed, 1) == 1)
            {
                return;
            }

            await _closed.CancelAsync();
            process.StandardInput.Close();
            process.StandardOutput.Close();

            // The daemon lets its copies go when it sees the end, and then tells the process to go.
            using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(30));
            await process.WaitForExitAsync(patience.Token);
            process.Dispose();
            _closed.Dispose();
        }
    }
}
