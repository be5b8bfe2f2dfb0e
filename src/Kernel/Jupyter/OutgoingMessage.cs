using InterpreterKernel.Protocol.Jupyter;

namespace InterpreterKernel.Kernel.Jupyter;

/// <summary>A signed message on its way out.</summary>
/// <param name="Channel">Where it goes.</param>
/// <param name="Frames">All its frames, identities first.</param>
/// <param name="Cost">Its bytes, and something for being a message at all, so that many tiny ones count too.</param>
internal readonly record struct OutgoingMessage(JupyterChannel Channel, ReadOnlyMemory<byte>[] Frames, long Cost)
{
    private const int Overhead = 512;

    internal static OutgoingMessage Of(JupyterChannel channel, JupyterMessage message, MessageSigner signer)
        => new(channel, MessageFraming.ToFrames(message, signer.Sign(message)), message.Length + Overhead);
}
