using System.Text;
using System.Text.Json;
using System.Threading.Channels;
using InterpreterKernel.Protocol.Jupyter;

namespace InterpreterKernel.Kernel.Tests;

/// <summary>The clients of a bridge under test: what they were sent, in order, one line a message.</summary>
internal sealed class FakeClients : IClients
{
    private readonly TaskCompletionSource _subscribed = new();
    private readonly Channel<string> _lines = Channel.CreateUnbounded<string>();

    public FakeClients(bool subscribed = true)
    {
        if (subscribed)
        {
            Subscribe();
        }
    }

    public List<(JupyterChannel Channel, JupyterMessage Message)> Sent { get; } = [];

    public Task FirstSubscriber => _subscribed.Task;

    public void Subscribe() => _subscribed.TrySetResult();

    public void Send(JupyterChannel channel, JupyterMessage message)
    {
        lock (Sent)
        {
            Sent.Add((channel, message));
        }

        if (message.MessageType is "status" && Field(message, "execution_state") == "starting")
        {
            return;
        }

        var detail = Field(message, "execution_state") ?? Field(message, "ename") ?? Field(message, "text")?.TrimEnd() ?? Field(message, "status");
        _lines.Writer.TryWrite($"{channel} {message.MessageType} {detail} <{message.ParentMessageId}>");
    }

    public ValueTask WaitForRoomAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;

    /// <summary>The next <paramref name="count"/> lines, waited for.</summary>
    public async Task<string[]> NextAsync(int count)
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        var lines = new string[count];
        for (var i = 0; i < count; i++)
        {
            lines[i] = await _lines.Reader.ReadAsync(limit.Token);
        }

        return lines;
    }

    public bool NothingMore() => !_lines.Reader.TryPeek(out _);

    private static string? Field(JupyterMessage message, string name)
    {
        using var content = JsonDocument.Parse(message.Content);
        return content.RootElement.TryGetProperty(name, out var value) ? value.ToString() : null;
    }
}

/// <summary>The far end of a bridge under test.</summary>
internal sealed class FakeRemote : IRemoteKernel
{
    private readonly Channel<RemoteItem> _items = Channel.CreateUnbounded<RemoteItem>();

    public event Action<string>? Notice;

    public ReadOnlyMemory<byte> KernelInfo { get; init; } = Messages.KernelInfo;

    public string Session => "ours";

    public Sandbox.Sandbox? Box { get; init; }

    public bool IsReachable { get; set; } = true;

    public List<string> Received { get; } = [];

    public List<JupyterMessage> Requests { get; } = [];

    public int Interrupts { get; private set; }

    /// <summary>The cells that interrupts were meant for, and the sessions of restarts.</summary>
    public List<string> Stops { get; } = [];

    public string? GivenUp { get; private set; }

    /// <summary>As the real one does when it sees that its sandbox is gone.</summary>
    public bool EndsWhenReleased { get; set; }

    public bool Disposed { get; private set; }

    public void Send(JupyterChannel channel, JupyterMessage message)
    {
        Requests.Add(message);
        Received.Add($"{channel} {message.MessageType} {message.MessageId}");
    }

    public void Interrupt(string? cell = null)
    {
        Interrupts++;
        if (cell is not null)
        {
            Stops.Add("interrupt " + cell);
        }
    }

    public void Restart(string session) => Stops.Add("restart");

    public void Tell(string notice) => Notice?.Invoke(notice);

    public void Say(RemoteItem item) => _items.Writer.TryWrite(item).ShouldBeTrue();

    public void Say(JupyterChannel channel, string type, string parent, string content) =>
        Say(new RemoteItem.Message(channel, Messages.From("kernel", type, parent, content)));

    public IAsyncEnumerable<RemoteItem> ReadAsync(CancellationToken cancellationToken) => _items.Reader.ReadAllAsync(cancellationToken);

    public Task ReleaseAsync(TimeSpan limit)
    {
        GivenUp = "released";
        if (EndsWhenReleased)
        {
            Say(new RemoteItem.Ended(new EndOfRemote(KernelDied: false, "SandboxLost", "gone")));
        }

        return Task.CompletedTask;
    }

    public Task HandOverAsync(TimeSpan limit)
    {
        GivenUp = "handed over";
        return Task.CompletedTask;
    }

    public ValueTask DisposeAsync()
    {
        Disposed = true;
        return ValueTask.CompletedTask;
    }
}

/// <summary>Messages as clients and kernels make them.</summary>
internal static class Messages
{
    public static byte[] KernelInfo { get; } =
        """{"status":"ok","protocol_version":"5.3","implementation":"fake","language_info":{"name":"python"},"banner":""}"""u8.ToArray();

    public static JupyterMessage From(string session, string type, string parent, string content) => new()
    {
        Header = Header(session, type, Guid.NewGuid().ToString("n")),
        ParentHeader = parent.Length == 0 ? JupyterMessage.EmptyObject : Header("client", "any", parent),
        Content = Encoding.UTF8.GetBytes(content),
    };

    public static JupyterMessage Request(string type, string id, string content = "{}") => new()
    {
        Identities = ["client"u8.ToArray()],
        Header = Header("client", type, id),
        Content = Encoding.UTF8.GetBytes(content),
    };

    private static byte[] Header(string session, string type, string id) =>
        Encoding.UTF8.GetBytes($$"""{"msg_id":"{{id}}","session":"{{session}}","msg_type":"{{type}}","username":"u","date":"2026-11-21T12:00:00.000000Z","version":"5.3"}""");
}
