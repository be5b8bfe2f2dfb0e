using System.Security.Cryptography;
using System.Text;

namespace InterpreterKernel.Protocol.Jupyter;

/// <summary>
/// Signs and checks messages: the lower-case hex HMAC of header, parent header, metadata and content. Identities and
/// buffers are not covered; hashing them is a known mistake that breaks every widget. May be used from any thread.
/// </summary>
public sealed class MessageSigner : IDisposable
{
    private const int LongestHash = 64;

    private readonly byte[] _key;
    private readonly HashAlgorithmName _hash;
    private readonly int _hashLength;

    // A keyed hash is costly to set up and cheap to reuse. One is kept; a second thread makes its own for that once.
    private IncrementalHash? _spare;

    /// <summary>A signer for <paramref name="key"/>, whose UTF-8 bytes are the key; empty means that nothing is signed.</summary>
    public MessageSigner(SignatureScheme scheme, string key)
    {
        ArgumentNullException.ThrowIfNull(key);
        _key = Encoding.UTF8.GetBytes(key);
        (_hash, _hashLength) = scheme switch
        {
            SignatureScheme.HmacSha256 => (HashAlgorithmName.SHA256, 32),
            SignatureScheme.HmacSha384 => (HashAlgorithmName.SHA384, 48),
            SignatureScheme.HmacSha512 => (HashAlgorithmName.SHA512, 64),
            _ => throw new ArgumentOutOfRangeException(nameof(scheme), scheme, "not a scheme"),
        };
    }

    /// <summary>The signer of a connection.</summary>
    public static MessageSigner For(ConnectionFile file)
    {
        ArgumentNullException.ThrowIfNull(file);
        return new MessageSigner(file.Scheme, file.Key);
    }

    /// <summary>The signature frame of <paramref name="message"/>; empty without a key.</summary>
    public byte[] Sign(JupyterMessage message)
    {
        ArgumentNullException.ThrowIfNull(message);
        if (_key.Length == 0)
        {
            return [];
        }

        var signature = new byte[_hashLength * 2];
        WriteSignature(message, signature);
        return signature;
    }

    /// <summary>Whether <paramref name="signature"/> is that of <paramref name="message"/>. Without a key every message passes.</summary>
    public bool Verify(JupyterMessage message, ReadOnlySpan<byte> signature)
    {
        ArgumentNullException.ThrowIfNull(message);
        if (_key.Length == 0)
        {
            return true;
        }

        Span<byte> expected = stackalloc byte[LongestHash * 2];
        expected = expected[..(_hashLength * 2)];
        WriteSignature(message, expected);
        return CryptographicOperations.FixedTimeEquals(expected, signature);
    }

    /// <inheritdoc/>
    public void Dispose() => Interlocked.Exchange(ref _spare, null)?.Dispose();

    private void WriteSignature(JupyterMessage message, Span<byte> hex)
    {
        var hmac = Interlocked.Exchange(ref _spare, null) ?? IncrementalHash.CreateHMAC(_hash, _key);
        hmac.AppendData(message.Header.Span);
        hmac.AppendData(message.ParentHeader.Span);
        hmac.AppendData(message.Metadata.Span);
        hmac.AppendData(message.Content.Span);
        Span<byte> hash = stackalloc byte[LongestHash];
        hash = hash[..hmac.GetHashAndReset(hash)];
        Convert.TryToHexStringLower(hash, hex, out _);
        Interlocked.Exchange(ref _spare, hmac)?.Dispose();
    }
}
