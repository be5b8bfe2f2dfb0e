namespace InterpreterKernel.Protocol.Jupyter;

/// <summary>
/// One message as it came or will go: the four JSON frames and the buffers are the very bytes of the wire, never
/// a re-serialisation, so that a kernel's extensions survive us. The few header fields that routing needs are read
/// when first asked for. The memory belongs to the message and must not change while the message lives.
/// </summary>
public sealed class JupyterMessage
{
    private HeaderFields? _header;
    private string? _parentMessageId;

    /// <summary>An empty JSON object, the default of three of the frames.</summary>
    public static ReadOnlyMemory<byte> EmptyObject { get; } = "{}"u8.ToArray();

    /// <summary>The frames before the delimiter: routing identities of the client, or on iopub the topic.</summary>
    public IReadOnlyList<ReadOnlyMemory<byte>> Identities { get; init; } = [];

    /// <summary>The header frame.</summary>
    public required ReadOnlyMemory<byte> Header { get; init; }

    /// <summary>The header of the message that caused this one, or <c>{}</c>.</summary>
    public ReadOnlyMemory<byte> ParentHeader { get; init; } = EmptyObject;

    /// <summary>The metadata frame.</summary>
    public ReadOnlyMemory<byte> Metadata { get; init; } = EmptyObject;

    /// <summary>The content frame.</summary>
    public ReadOnlyMemory<byte> Content { get; init; } = EmptyObject;

    /// <summary>Binary frames after the content; order and count matter, and some may be empty.</summary>
    public IReadOnlyList<ReadOnlyMemory<byte>> Buffers { get; init; } = [];

    /// <summary><c>msg_type</c>; empty when the header does not say.</summary>
    public string MessageType => Fields.MessageType;

    /// <summary><c>msg_id</c>; empty when the header does not say.</summary>
    public string MessageId => Fields.MessageId;

    /// <summary>Session of the sender; empty when the header does not say.</summary>
    public string Session => Fields.Session;

    /// <summary><c>msg_id</c> of the parent header; empty when there is none.</summary>
    public string ParentMessageId => _parentMessageId ??= HeaderFields.Read(ParentHeader.Span).MessageId;

    /// <summary>Bytes of all frames together.</summary>
    public long Length
    {
        get
        {
            long length = Header.Length + (long)ParentHeader.Length + Metadata.Length + Content.Length;
            for (var i = 0; i < Identities.Count; i++)
            {
                length += Identities[i].Length;
            }

            for (var i = 0; i < Buffers.Count; i++)
            {
                length += Buffers[i].Length;
            }

            return length;
        }
    }

    private HeaderFields Fields => _header ??= HeaderFields.Read(Header.Span);

    /// <summary>The same message with other content; its header, and with it its id, stays.</summary>
    public JupyterMessage WithContent(ReadOnlyMemory<byte> content) => new()
    {
        Identities = Identities,
        Header = Header,
        ParentHeader = ParentHeader,
        Metadata = Metadata,
        Content = content,
        Buffers = Buffers,
        _header = _header,
        _parentMessageId = _parentMessageId,
    };

    /// <summary>The same message, addressed to somebody else; no byte is copied.</summary>
    public JupyterMessage WithIdentities(IReadOnlyList<ReadOnlyMemory<byte>> identities) => new()
    {
        Identities = identities,
        Header = Header,
        ParentHeader = ParentHeader,
        Metadata = Metadata,
        Content = Content,
        Buffers = Buffers,
        _header = _header,
        _parentMessageId = _parentMessageId,
    };
}
