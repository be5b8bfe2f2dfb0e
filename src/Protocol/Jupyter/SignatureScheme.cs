namespace InterpreterKernel.Protocol.Jupyter;

/// <summary>How the messages of a connection are signed. MD5 is in the schema too; it is refused.</summary>
public enum SignatureScheme
{
    /// <summary><c>hmac-sha256</c>, the default of every launcher.</summary>
    HmacSha256,

    /// <summary><c>hmac-sha384</c>.</summary>
    HmacSha384,

    /// <summary><c>hmac-sha512</c>.</summary>
    HmacSha512,
}
