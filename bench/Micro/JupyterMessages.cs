using System.Text;
using BenchmarkDotNet.Attributes;
using InterpreterKernel.Protocol.Jupyter;

namespace InterpreterKernel.Micro;

/// <summary>What is done with each message on the side of the clients: frames to message and back, sign, verify.</summary>
public class JupyterMessages
{
    private const string Header = """{"msg_id":"6f0f5d3e-0a4b8c1d2e3f405162738495_123_45","msg_type":"stream","username":"me","session":"6f0f5d3e-0a4b8c1d2e3f405162738495","date":"2026-01-01T00:00:00.000000Z","version":"5.3"}""";

    private readonly MessageSigner _signer = new(SignatureScheme.HmacSha256, "a0436f6c-1916-498b-8eb9-e81ab9368e84");
    private ReadOnlyMemory<byte>[] _frames = [];
    private JupyterMessage _message = null!;
    private byte[] _signature = [];

    /// <summary>Bytes of the content.</summary>
    [Params(200, 512 * 1024)]
    public int Content { get; set; }

    [GlobalSetup]
    public void Prepare()
    {
        var header = Encoding.UTF8.GetBytes(Header);
        var content = Encoding.UTF8.GetBytes($$"""{"name":"stdout","text":"{{new string('x', Content)}}"}""");
        _message = new JupyterMessage { Identities = ["stream"u8.ToArray()], Header = header, ParentHeader = header, Content = content };
        _signature = _signer.Sign(_message);
        _frames = MessageFraming.ToFrames(_message, _signature);
    }

    [Benchmark]
    public bool Read() => MessageFraming.TryRead(_frames, out _, out _, out _);

    [Benchmark]
    public bool ReadAndLookAtTheHeader() => MessageFraming.TryRead(_frames, out var message, out _, out _) && message.MessageType.Length > 0 && message.ParentMessageId.Length > 0;

    [Benchmark]
    public ReadOnlyMemory<byte>[] Write() => MessageFraming.ToFrames(_message, _signature);

    [Benchmark]
    public byte[] Sign() => _signer.Sign(_message);

    [Benchmark]
    public bool Verify() => _signer.Verify(_message, _signature);
}
