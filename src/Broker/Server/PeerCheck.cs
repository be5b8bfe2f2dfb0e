using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.Extensions.Logging;

namespace InterpreterKernel.Broker;

/// <summary>
/// Lets only processes of our own user talk to us. The directory's mode says the same; this holds even where somebody
/// passed a descriptor on, or the mode was changed. No byte is read from a stranger.
/// </summary>
internal static class PeerCheck
{
    public static ConnectionDelegate Wrap(ConnectionDelegate next, ILogger log)
    {
        var us = Posix.EffectiveUserId();
        return connection =>
        {
            var peer = connection.Features.Get<IConnectionSocketFeature>()?.Socket is { } socket ? Posix.PeerUser(socket) : null;
            if (peer == us)
            {
                return next(connection);
            }

            log.StrangerRefused(peer);
            connection.Abort();
            return Task.CompletedTask;
        };
    }
}
