using System.Buffers;
using BenchmarkDotNet.Attributes;
using Google.Protobuf;
using InterpreterKernel.Protocol.Connect;
using InterpreterKernel.Protocol.Envd;

namespace InterpreterKernel.Micro;

/// <summary>The stream of a process: one envelope with an event of output, written and read with the generated code.</summary>
public class ConnectEnvelopes
{
    private readonly ArrayBufferWriter<byte> _output = new(128 * 1024);
    private byte[] _data = [];
    private byte[] _envelope = [];

    /// <summary>Bytes of output in the event; 32 KiB is what envd sends at most.</summary>
    [Params(200, 32 * 1024)]
    public int Data { get; set; }

    [GlobalSetup]
    public void Prepare()
    {
        _data = new byte[Data];
        Write();
        _envelope = _output.WrittenSpan.ToArray();
    }

    [Benchmark]
    public int Write()
    {
        var data = new ProcessEvent.Types.DataEvent { Stdout = UnsafeByteOperations.UnsafeWrap(_data) };
        var message = new StartResponse { Event = new ProcessEvent { Data = data } };
        _output.ResetWrittenCount();
        Envelope.WriteHeader(_output, 0, message.CalculateSize());
        message.WriteTo(_output);
        return _output.WrittenCount;
    }

    [Benchmark]
    public long FindEnvelope()
    {
        var buffer = new ReadOnlySequence<byte>(_envelope);
        Envelope.TryRead(ref buffer, out _, out var payload);
        return payload.Length;
    }

    [Benchmark]
    public StartResponse Parse()
    {
        var buffer = new ReadOnlySequence<byte>(_envelope);
        Envelope.TryRead(ref buffer, out _, out var payload);
        return StartResponse.Parser.ParseFrom(payload);
    }
}
