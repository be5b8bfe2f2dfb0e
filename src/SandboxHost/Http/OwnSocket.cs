using System.Net.Sockets;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Http;

namespace InterpreterKernel.SandboxHost.Http;

/// <summary>The host's own unix socket, which its user alone can reach: what comes over it may ask for more than what comes over TCP.</summary>
internal static class OwnSocket
{
    /// <summary>Whether a request came over it.</summary>
    internal static bool CameOverOwnSocket(this HttpContext context) =>
        context.Features.Get<IConnectionSocketFeature>()?.Socket.AddressFamily == AddressFamily.Unix;
}
