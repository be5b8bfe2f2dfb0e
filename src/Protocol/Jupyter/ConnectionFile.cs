using System.Text;

namespace InterpreterKernel.Protocol.Jupyter;

/// <summary>How the clients of a kernel reach its sockets.</summary>
public enum JupyterTransport
{
    /// <summary>TCP; the default.</summary>
    Tcp,

    /// <summary>Unix sockets named <c>{ip}-{port}</c>.</summary>
    Ipc,
}

/// <summary>
/// The file that a launcher hands to the kernel: where to bind and how to sign (jupyter-wire.md section 1.1).
/// Its <see cref="Key"/> gives the right to run code; <see cref="ToString"/> leaves the secrets out.
/// </summary>
public sealed record ConnectionFile
{
    /// <summary>The largest file taken, in bytes. A real one has some 300.</summary>
    public const int MaxLength = 64 * 1024;

    /// <summary>TCP or Unix sockets.</summary>
    public JupyterTransport Transport { get; init; } = JupyterTransport.Tcp;

    /// <summary>For TCP the address to bind, <c>*</c> for all; for ipc the first part of the sockets' paths.</summary>
    public string Ip { get; init; } = "127.0.0.1";

    /// <summary>Port (or suffix, for ipc) of the shell channel.</summary>
    public required int ShellPort { get; init; }

    /// <summary>Port of the iopub channel.</summary>
    public required int IopubPort { get; init; }

    /// <summary>Port of the stdin channel.</summary>
    public required int StdinPort { get; init; }

    /// <summary>Port of the control channel.</summary>
    public required int ControlPort { get; init; }

    /// <summary>Port of the heartbeat.</summary>
    public required int HeartbeatPort { get; init; }

    /// <summary>The signing key; its UTF-8 bytes count as they are. Empty: messages are not signed.</summary>
    public string Key { get; init; } = "";

    /// <summary>How messages are signed.</summary>
    public SignatureScheme Scheme { get; init; } = SignatureScheme.HmacSha256;

    /// <summary>Name of the kernelspec; may be empty.</summary>
    public string KernelName { get; init; } = "";

    /// <summary>Path of the notebook, where the launcher told it.</summary>
    public string? JupyterSession { get; init; }

    /// <summary>Z85 public half of the connection's CURVE pair; null when the connection is not encrypted.</summary>
    public string? CurvePublicKey { get; init; }

    /// <summary>Z85 secret half of the connection's CURVE pair.</summary>
    public string? CurveSecretKey { get; init; }

    /// <summary>Whether all five sockets speak CURVE.</summary>
    public bool IsEncrypted => CurveSecretKey is not null;

    /// <summary>Reads and checks <paramref name="path"/>.</summary>
    /// <exception cref="ConnectionFileException">The file is missing, unreadable, damaged or not for us.</exception>
    public static ConnectionFile Load(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        try
        {
            using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, bufferSize: 0);

            // One byte more than the bound, read in a loop: the length of a pipe or of a device says nothing.
            var buffer = new byte[MaxLength + 1];
            var length = file.ReadAtLeast(buffer, buffer.Length, throwOnEndOfStream: false);
            return Parse(buffer.AsMemory(0, length), path);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new ConnectionFileException(ConnectionFileFault.NotFound, path, "there is no such file", ConnectionFileReader.StartAgain, e);
        }
        catch (Exception e) when (e is UnauthorizedAccessException or IOException or NotSupportedException)
        {
            var what = Directory.Exists(path) ? "it is a directory" : "it can't be read (" + e.Message.TrimEnd('.') + ")";
            throw new ConnectionFileException(ConnectionFileFault.Unreadable, path, what, "Give the path of a file that this user may read.", e);
        }
    }

    /// <summary>Checks the bytes of a connection file; <paramref name="name"/> is what errors call it.</summary>
    /// <exception cref="ConnectionFileException">The content is damaged or not for us.</exception>
    public static ConnectionFile Parse(ReadOnlyMemory<byte> json, string name = "(given)")
        => new ConnectionFileReader(name).Read(json);

    /// <summary>The port, or for ipc the suffix, of <paramref name="channel"/>.</summary>
    public int PortOf(JupyterChannel channel) => channel switch
    {
        JupyterChannel.Shell => ShellPort,
        JupyterChannel.Control => ControlPort,
        JupyterChannel.Stdin => StdinPort,
        JupyterChannel.Iopub => IopubPort,
        JupyterChannel.Heartbeat => HeartbeatPort,
        _ => throw new ArgumentOutOfRangeException(nameof(channel), channel, "not a channel"),
    };

    /// <summary>The ZeroMQ address of <paramref name="channel"/>.</summary>
    public string EndpointOf(JupyterChannel channel)
    {
        if (Transport == JupyterTransport.Ipc)
        {
            return $"ipc://{Ip}-{PortOf(channel)}";
        }

        // libzmq binds to numbers and interfaces, it asks no name service; and an IPv6 address needs its brackets.
        var host = Ip == "localhost" ? "127.0.0.1" : Ip.Contains(':') && !Ip.StartsWith('[') ? $"[{Ip}]" : Ip;
        return $"tcp://{host}:{PortOf(channel)}";
    }

    private bool PrintMembers(StringBuilder text)
    {
        text.Append($"{Transport} {Ip} shell {ShellPort} control {ControlPort} stdin {StdinPort} iopub {IopubPort} heartbeat {HeartbeatPort} ");
        text.Append($"{(Key.Length == 0 ? "unsigned" : Scheme.ToString())}{(IsEncrypted ? " encrypted" : "")}");
        return true;
    }
}
