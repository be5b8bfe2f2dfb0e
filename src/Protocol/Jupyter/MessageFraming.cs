using System.Diagnostics.CodeAnalysis;

namespace InterpreterKernel.Protocol.Jupyter;

/// <summary>
/// Frames to message and back (jupyter-wire.md section 2.1):
/// <code>
/// identity*  &lt;IDS|MSG&gt;  signature  header  parent_header  metadata  content  buffer*
/// </code>
/// </summary>
public static class MessageFraming
{
    /// <summary>Signature and the four JSON frames.</summary>
    private const int FramesAfterDelimiter = 5;

    /// <summary>The frame between identities and signature.</summary>
    public static ReadOnlyMemory<byte> Delimiter { get; } = "<IDS|MSG>"u8.ToArray();

    /// <summary>
    /// Reads a message; it keeps the array and its memory. The signature is not checked here.
    /// False: the frames are no message, and <paramref name="fault"/> says why.
    /// </summary>
    public static bool TryRead(
        ReadOnlyMemory<byte>[] frames,
        [NotNullWhen(true)] out JupyterMessage? message,
        out ReadOnlyMemory<byte> signature,
        [NotNullWhen(false)] out string? fault)
    {
        ArgumentNullException.ThrowIfNull(frames);
        message = null;
        signature = default;
        var delimiter = IndexOfDelimiter(frames);
        if (delimiter < 0)
        {
            fault = $"none of its {frames.Length} frames is the delimiter <IDS|MSG>";
            return false;
        }

        var after = frames.Length - delimiter - 1;
        if (after < FramesAfterDelimiter)
        {
            fault = $"only {after} frames follow the delimiter, not {FramesAfterDelimiter} or more";
            return false;
        }

        signature = frames[delimiter + 1];
        message = new JupyterMessage
        {
            Identities = Slice(frames, 0, delimiter),
            Header = frames[delimiter + 2],
            ParentHeader = frames[delimiter + 3],
            Metadata = frames[delimiter + 4],
            Content = frames[delimiter + 5],
            Buffers = Slice(frames, delimiter + 1 + FramesAfterDelimiter, after - FramesAfterDelimiter),
        };
        fault = null;
        return true;
    }

    /// <summary>The frames of <paramref name="message"/> in wire order; nothing is copied.</summary>
    public static ReadOnlyMemory<byte>[] ToFrames(JupyterMessage message, ReadOnlyMemory<byte> signature)
    {
        ArgumentNullException.ThrowIfNull(message);
        var identities = message.Identities;
        var buffers = message.Buffers;
        var frames = new ReadOnlyMemory<byte>[identities.Count + 1 + FramesAfterDelimiter + buffers.Count];
        var next = 0;
        for (var i = 0; i < identities.Count; i++)
        {
            frames[next++] = identities[i];
        }

        frames[next++] = Delimiter;
        frames[next++] = signature;
        frames[next++] = message.Header;
        frames[next++] = message.ParentHeader;
        frames[next++] = message.Metadata;
        frames[next++] = message.Content;
        for (var i = 0; i < buffers.Count; i++)
        {
            frames[next++] = buffers[i];
        }

        return frames;
    }

    private static int IndexOfDelimiter(ReadOnlyMemory<byte>[] frames)
    {
        for (var i = 0; i < frames.Length; i++)
        {
            if (frames[i].Span.SequenceEqual(Delimiter.Span))
            {
                return i;
            }
        }

        return -1;
    }

    private static ArraySegment<ReadOnlyMemory<byte>> Slice(ReadOnlyMemory<byte>[] frames, int start, int count)
        => count == 0 ? ArraySegment<ReadOnlyMemory<byte>>.Empty : new(frames, start, count);
}
