using System.Text.Json.Serialization;

namespace InterpreterKernel.Sandbox.FileSystem;

// The filesystem service in proto3 JSON (e2b-wire.md section 4.9): rare and small messages, so no codec of their own.
internal sealed record PathBody([property: JsonPropertyName("path")] string Path);

internal sealed record ListBody([property: JsonPropertyName("path")] string Path, [property: JsonPropertyName("depth")] int Depth);

internal sealed record MoveBody([property: JsonPropertyName("source")] string Source, [property: JsonPropertyName("destination")] string Destination);

internal sealed record WatchBody([property: JsonPropertyName("path")] string Path, [property: JsonPropertyName("recursive")] bool Recursive);

internal sealed class EntryAnswer
{
    [JsonPropertyName("entry")]
    public EntryBody? Entry { get; init; }
}

internal sealed class EntriesAnswer
{
    [JsonPropertyName("entries")]
    public EntryBody[]? Entries { get; init; }
}

internal sealed class EntryBody
{
    [JsonPropertyName("name")]
    public string? Name { get; init; }

    [JsonPropertyName("path")]
    public string? Path { get; init; }

    [JsonPropertyName("type")]
    public string? Type { get; init; }

    // 64-bit numbers are strings in proto3 JSON.
    [JsonPropertyName("size")]
    [JsonNumberHandling(JsonNumberHandling.AllowReadingFromString)]
    public long Size { get; init; }

    [JsonPropertyName("mode")]
    public uint Mode { get; init; }

    [JsonPropertyName("permissions")]
    public string? Permissions { get; init; }

    [JsonPropertyName("owner")]
    public string? Owner { get; init; }

    [JsonPropertyName("group")]
    public string? Group { get; init; }

    [JsonPropertyName("modifiedTime")]
    public DateTimeOffset? ModifiedTime { get; init; }

    [JsonPropertyName("symlinkTarget")]
    public string? SymlinkTarget { get; init; }
}

internal sealed class WatchEventBody
{
    [JsonPropertyName("start")]
    public EmptyBody? Start { get; init; }

    [JsonPropertyName("filesystem")]
    public ChangeBody? Change { get; init; }
}

internal sealed class EmptyBody;

internal sealed class ChangeBody
{
    [JsonPropertyName("name")]
    public string? Name { get; init; }

    [JsonPropertyName("type")]
    public string? Type { get; init; }
}

[JsonSerializable(typeof(PathBody))]
[JsonSerializable(typeof(ListBody))]
[JsonSerializable(typeof(MoveBody))]
[JsonSerializable(typeof(WatchBody))]
[JsonSerializable(typeof(EntryAnswer))]
[JsonSerializable(typeof(EntriesAnswer))]
[JsonSerializable(typeof(WatchEventBody))]
internal sealed partial class FilesystemJson : JsonSerializerContext;
