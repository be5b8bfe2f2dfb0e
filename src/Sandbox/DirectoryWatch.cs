using System.Runtime.CompilerServices;
using System.Text.Json;
using InterpreterKernel.Protocol.Connect;
using InterpreterKernel.Sandbox.FileSystem;
using InterpreterKernel.Sandbox.Http;

namespace InterpreterKernel.Sandbox;

/// <summary>Changes in a directory of the sandbox, as they happen. Disposing ends the watch.</summary>
public sealed class DirectoryWatch : IAsyncDisposable
{
    private const string ContentType = "application/connect+json";

    private readonly EnvdClient _envd;
    private readonly EnvelopeStream _events;
    private readonly string _doing;

    private DirectoryWatch(EnvdClient envd, EnvelopeStream events, string doing)
    {
        _envd = envd;
        _events = events;
        _doing = doing;
    }

    internal static async Task<DirectoryWatch> OpenAsync(EnvdClient envd, string path, bool recursive, string? user, CancellationToken ct)
    {
        var doing = $"Watching {path}";
        var message = JsonSerializer.SerializeToUtf8Bytes(new WatchBody(path, recursive), FilesystemJson.Default.WatchBody);
        var envelope = new System.Buffers.ArrayBufferWriter<byte>();
        Envelope.WriteHeader(envelope, 0, message.Length);
        System.Buffers.BuffersExtensions.Write(envelope, message);
        using var clock = new CallClock(envd.Connection, ct);
        EnvelopeStream? events = null;
        try
        {
            var response = await envd.OpenStreamAsync(
                FilesystemCalls.Service + "WatchDir", envelope.WrittenSpan.ToArray(), ContentType, doing, user, timeout: null, listen: false, clock.Token);
            events = await EnvelopeStream.OpenAsync(response, envd.Connection, clock.Token);
            return await events.ReadAsync(clock.Token) is { } first && Parse(first).Start is not null
                ? new DirectoryWatch(envd, events, doing)
                : throw new InvalidDataException("the first event is not the start of the watch");
        }
        catch (Exception e)
        {
            if (events is not null)
            {
                await events.DisposeAsync();
            }

            throw e is StreamEndedException ended ? Failure.OfConnect(ended.Error, doing, null, envd.Secrets) : await envd.ExplainAsync(e, clock, doing);
        }
    }

    /// <summary>What changes from now on. One reader at a time; cancelling ends the watch.</summary>
    /// <exception cref="SandboxException">The watch broke off; what changed since is not known. Watch anew.</exception>
    public async IAsyncEnumerable<FileChange> ReadAsync([EnumeratorCancellation] CancellationToken ct = default)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(ct, _events.Silence, _events.Closed);
        while (await NextAsync(stop.Token, ct) is { } change)
        {
            yield return change;
        }
    }

    /// <summary>Ends the watch.</summary>
    public ValueTask DisposeAsync() => _events.DisposeAsync();

    private static WatchEventBody Parse(ReadOnlyMemory<byte> message) =>
        JsonSerializer.Deserialize(message.Span, FilesystemJson.Default.WatchEventBody) ?? throw new JsonException("an event is null");

    private async ValueTask<FileChange?> NextAsync(CancellationToken stop, CancellationToken caller)
    {
        try
        {
            while (await _events.ReadAsync(stop) is { } message)
            {
                if (Parse(message).Change is { Name: { } name } change)
                {
                    return new FileChange(name, KindOf(change.Type));
                }
            }

            return null;
        }
        catch (InvalidOperationException)
        {
            throw; // two readers: the caller's mistake
        }
        catch (Exception e)
        {
            throw await _events.ExplainAsync(e, _envd, _doing, "What changes meanwhile is not seen: look at the directory, and watch anew.", caller);
        }
    }

    private static FileChangeKind KindOf(string? type) => type switch
    {
        "EVENT_TYPE_CREATE" => FileChangeKind.Create,
        "EVENT_TYPE_WRITE" => FileChangeKind.Write,
        "EVENT_TYPE_REMOVE" => FileChangeKind.Remove,
        "EVENT_TYPE_RENAME" => FileChangeKind.Rename,
        "EVENT_TYPE_CHMOD" => FileChangeKind.Chmod,
        _ => FileChangeKind.Other,
    };
}
