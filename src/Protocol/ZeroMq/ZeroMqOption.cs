namespace InterpreterKernel.Protocol.ZeroMq;

/// <summary>Kinds of sockets (zmq_socket).</summary>
public enum ZeroMqSocketType
{
    /// <summary>Receives what it subscribed to.</summary>
    Sub = 2,

    /// <summary>Asks and awaits the answer.</summary>
    Req = 3,

    /// <summary>Answers each request.</summary>
    Rep = 4,

    /// <summary>A client of a router.</summary>
    Dealer = 5,

    /// <summary>Talks to many peers by identity.</summary>
    Router = 6,

    /// <summary>Publishes, and hears of subscriptions.</summary>
    XPub = 9,
}

/// <summary>Socket options that we set (zmq_setsockopt).</summary>
public enum ZeroMqOption
{
    /// <summary>The peer's name at a router; bytes.</summary>
    RoutingId = 5,

    /// <summary>Adds a subscription; bytes.</summary>
    Subscribe = 6,

    /// <summary>A descriptor that is readable when the socket's state may have changed; read only.</summary>
    Descriptor = 14,

    /// <summary>What is possible now, as bits; reading it also lets the socket do pending work. Read only.</summary>
    Events = 15,

    /// <summary>How long close keeps unsent messages, in ms; -1 for ever.</summary>
    Linger = 17,

    /// <summary>The largest frame taken, in bytes; 64 bit.</summary>
    MaxMessageSize = 22,

    /// <summary>Messages queued for one peer; 0 is no limit.</summary>
    SendHighWaterMark = 23,

    /// <summary>Messages queued from one peer; 0 is no limit.</summary>
    ReceiveHighWaterMark = 24,

    /// <summary>Where it was bound last; read only, text.</summary>
    LastEndpoint = 32,

    /// <summary>Probe idle connections, so that a vanished peer is noticed.</summary>
    TcpKeepalive = 34,

    /// <summary>Every new subscription is reported, not only the first of its kind.</summary>
    XPubVerbose = 40,

    /// <summary>Take IPv6 addresses too.</summary>
    Ipv6 = 42,

    /// <summary>This side is the CURVE server.</summary>
    CurveServer = 47,

    /// <summary>Own public key; Z85 text.</summary>
    CurvePublicKey = 48,

    /// <summary>Own secret key; Z85 text.</summary>
    CurveSecretKey = 49,

    /// <summary>The server's public key; Z85 text.</summary>
    CurveServerKey = 50,

    /// <summary>A reconnecting peer takes its name over from its dead connection.</summary>
    RouterHandover = 56,

    /// <summary>A full subscriber makes the send fail instead of losing the message.</summary>
    XPubNoDrop = 69,

    /// <summary>Every subscription and every end of one is reported.</summary>
    XPubVerboser = 78,
}
