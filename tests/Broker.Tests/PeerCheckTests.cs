using System.IO.Pipelines;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Logging.Abstractions;

namespace InterpreterKernel.Broker.Tests;

public sealed class PeerCheckTests
{
    [Fact]
    public async Task A_connection_whose_user_is_unknown_is_ended_and_not_served()
    {
        await using var connection = new Connection();
        var served = false;
        await PeerCheck.Wrap(
            _ =>
            {
                served = true;
                return Task.CompletedTask;
            },
            NullLogger.Instance)(connection);

        served.ShouldBeFalse();
        connection.IsAborted.ShouldBeTrue();
    }

    private sealed class Connection : ConnectionContext
    {
        public bool IsAborted { get; private set; }

        public override string ConnectionId { get; set; } = "";

        public override IFeatureCollection Features { get; } = new FeatureCollection();

        public override IDictionary<object, object?> Items { get; set; } = new Dictionary<object, object?>();

        public override IDuplexPipe Transport { get; set; } = null!;

        public override void Abort(ConnectionAbortedException abortReason) => IsAborted = true;
    }
}
