using System.Text;
using InterpreterKernel.Protocol.Jupyter;

namespace InterpreterKernel.Protocol.Tests.Jupyter;

public sealed class MessageSignerTests
{
    // Made with Python: hmac.new('secret-ä'.encode(), b'{"msg_id":"1"}' + b'{}' + b'{}' + b'{"code":"1+1"}', hash).hexdigest()
    [Theory]
    [InlineData(SignatureScheme.HmacSha256, "175110393a276f23c44514422310d452ab9e48dbba774d31ea462ed7b245e779")]
    [InlineData(SignatureScheme.HmacSha384, "c2d7c08cf25e90ebb73b1cb8ad5472c3a8799d82d43a1f3d684528e1f19d941d011ee668bdfeeb3ced8f466644aac0ac")]
    [InlineData(SignatureScheme.HmacSha512, "9ee96cc451bf2a2bd666bbf82cd2df02c9f83e72a191a3c27096477ac06c1b2ad1d62334d42f963ac9b22c0ebf90f818fa7913878fc5e756dc8a569bf05ddf0a")]
    public void The_signature_is_that_of_the_reference_implementation(SignatureScheme scheme, string expected)
    {
        using var signer = new MessageSigner(scheme, "secret-ä");

        Encoding.ASCII.GetString(signer.Sign(Message())).ShouldBe(expected);
        signer.Verify(Message(), Encoding.ASCII.GetBytes(expected)).ShouldBeTrue();
    }

    [Fact]
    public void A_change_in_any_signed_byte_is_noticed()
    {
        using var signer = new MessageSigner(SignatureScheme.HmacSha256, "k");
        var signature = signer.Sign(Message());
        for (var frame = 0; frame < 4; frame++)
        {
            var frames = new[] { Message().Header, Message().ParentHeader, Message().Metadata, Message().Content };
            for (var i = 0; i < frames[frame].Length; i++)
            {
                var forged = frames[frame].ToArray();
                forged[i] ^= 1;
                var all = frames.ToArray();
                all[frame] = forged;
                var message = new JupyterMessage { Header = all[0], ParentHeader = all[1], Metadata = all[2], Content = all[3] };
                signer.Verify(message, signature).ShouldBeFalse();
            }
        }
    }

    [Fact]
    public void A_wrong_signature_of_any_length_is_refused()
    {
        using var signer = new MessageSigner(SignatureScheme.HmacSha256, "k");
        var signature = signer.Sign(Message());

        signer.Verify(Message(), []).ShouldBeFalse();
        signer.Verify(Message(), signature.AsSpan(0, 63)).ShouldBeFalse();
        signer.Verify(Message(), [.. signature, (byte)'0']).ShouldBeFalse();
        signer.Verify(Message(), Encoding.ASCII.GetBytes(Encoding.ASCII.GetString(signature).ToUpperInvariant())).ShouldBeFalse();
    }

    [Fact]
    public void Identities_and_buffers_are_not_signed()
    {
        using var signer = new MessageSigner(SignatureScheme.HmacSha256, "k");
        var plain = Message();
        var full = new JupyterMessage
        {
            Identities = [new byte[] { 1 }],
            Header = plain.Header,
            Content = plain.Content,
            Buffers = [new byte[] { 2, 3 }],
        };

        signer.Sign(full).ShouldBe(signer.Sign(plain));
    }

    [Fact]
    public void Without_a_key_nothing_is_signed_and_everything_passes()
    {
        using var signer = new MessageSigner(SignatureScheme.HmacSha256, "");

        signer.Sign(Message()).ShouldBeEmpty();
        signer.Verify(Message(), "whatever"u8).ShouldBeTrue();
        signer.Verify(Message(), []).ShouldBeTrue();
    }

    [Fact]
    public void Many_threads_may_sign_at_once()
    {
        using var signer = new MessageSigner(SignatureScheme.HmacSha512, "k");
        var expected = signer.Sign(Message());

        Parallel.For(0, 5_000, _ => signer.Sign(Message()).ShouldBe(expected));
    }

    private static JupyterMessage Message() => new()
    {
        Header = Encoding.UTF8.GetBytes("""{"msg_id":"1"}"""),
        Content = Encoding.UTF8.GetBytes("""{"code":"1+1"}"""),
    };
}
