using System.Text;
using System.Text.Json;
using InterpreterKernel.Kernel.Remote;
using InterpreterKernel.Protocol.Relay;

namespace InterpreterKernel.Kernel.Tests.Remote;

/// <summary>A Jupyter client's talk over a <see cref="RelayLink"/>: requests out, everything that comes in kept in order.</summary>
internal sealed class RelayConversation : IAsyncDisposable
{
    private static readonly byte[] s_delimiter = "<IDS|MSG>"u8.ToArray();
    private readonly IAsyncEnumerator<RelayItem> _items;
    private int _requests;

    public RelayConversation(RelayLink link)
    {
        Link = link;
        _items = link.ReadAllAsync().GetAsyncEnumerator();
        link.Start();
    }

    public RelayLink Link { get; }

    public List<RelayItem> Items { get; } = [];

    public string Request(string type, string content, RelayChannel channel = RelayChannel.Shell, params ReadOnlyMemory<byte>[] buffers)
    {
        var id = $"request-{++_requests}";
        var header = $$"""{"msg_id":"{{id}}","msg_type":"{{type}}","session":"test","username":"t","date":"2026-01-01T00:00:00.000000Z","version":"5.3"}""";
        Link.Send(channel,
        [
            "client"u8.ToArray(), s_delimiter, ReadOnlyMemory<byte>.Empty, Encoding.UTF8.GetBytes(header), "{}"u8.ToArray(), "{}"u8.ToArray(),
            Encoding.UTF8.GetBytes(content), .. buffers,
        ]);
        return id;
    }

    public string Execute(string code) =>
        Request("execute_request", $$"""{"code":{{JsonSerializer.Serialize(code)}},"silent":false,"store_history":true,"user_expressions":{},"allow_stdin":true,"stop_on_error":true}""");

    /// <summary>Reads on until an item is what is looked for.</summary>
    public async Task<T> UntilAsync<T>(Func<RelayItem, T?> what)
        where T : class
    {
        while (await _items.MoveNextAsync().AsTask().WaitAsync(TimeSpan.FromSeconds(60)))
        {
            Items.Add(_items.Current);
            if (what(_items.Current) is { } found)
            {
                return found;
            }
        }

        throw new InvalidOperationException("the link ended: " + await Link.Completion);
    }

    public Task<T> EventAsync<T>()
        where T : RelayEvent => UntilAsync(item => (item as RelayItemEvent)?.Event as T);

    public Task<JupyterView> ReplyAsync(string id, RelayChannel channel = RelayChannel.Shell) =>
        UntilAsync(item => View(item) is { } view && view.Channel == channel && view.Parent == id ? view : null);

    public async Task<KernelStarted> StartAsync(string kernel = "python3")
    {
        Link.SendCommand(new StartKernel(kernel, "session-1"));
        return await EventAsync<KernelStarted>();
    }

    public async Task<string> RunAsync(string code)
    {
        var id = Execute(code);
        await ReplyAsync(id);
        return Text(id);
    }

    public string Text(string id) =>
        string.Concat(Views(id).Where(view => view.Type == "stream").Select(view => view.Content.GetProperty("text").GetString()));

    public IEnumerable<JupyterView> Views(string? id = null) =>
        Items.Select(View).OfType<JupyterView>().Where(view => id is null || view.Parent == id);

    /// <summary>Ends relay and link.</summary>
    public async ValueTask DisposeAsync()
    {
        await Link.DisposeAsync();
        await _items.DisposeAsync();
    }

    private static JupyterView? View(RelayItem item)
    {
        if (item is not RelayItemMessage { Message: var message })
        {
            return null;
        }

        var at = message.Frames.ToList().FindIndex(frame => frame.Span.SequenceEqual(s_delimiter));
        var json = message.Frames.Skip(at + 2).Take(4).Select(frame => JsonElement.Parse(frame.Span)).ToArray();
        return new JupyterView(
            message.Channel, json[0].GetProperty("msg_type").GetString()!, json[1].TryGetProperty("msg_id", out var id) ? id.GetString()! : "",
            json[3], [.. message.Frames.Skip(at + 6)], Encoding.UTF8.GetString(message.Frames[0].Span));
    }
}

/// <summary>A Jupyter message as a client sees it.</summary>
internal sealed record JupyterView(
    RelayChannel Channel, string Type, string Parent, JsonElement Content, IReadOnlyList<ReadOnlyMemory<byte>> Buffers, string FirstFrame);
