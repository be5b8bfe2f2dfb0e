using System.Text;

namespace InterpreterKernel.Protocol.ZeroMq;

/// <summary>A CURVE key pair, both halves as Z85 text of 40 characters.</summary>
public sealed record CurveKeyPair(string PublicKey, string SecretKey)
{
    /// <summary>Makes a new pair.</summary>
    /// <exception cref="ZeroMqException">libzmq is missing, or was built without CURVE.</exception>
    public static unsafe CurveKeyPair Generate()
    {
        ZeroMqLibrary.EnsureLoaded();
        const int Length = 41;
        var publicKey = stackalloc byte[Length];
        var secretKey = stackalloc byte[Length];
        return LibZmq.CurveKeyPair(publicKey, secretKey) == 0
            ? new CurveKeyPair(Encoding.ASCII.GetString(publicKey, Length - 1), Encoding.ASCII.GetString(secretKey, Length - 1))
            : throw ZeroMqException.Last("make a CURVE key pair");
    }
}
