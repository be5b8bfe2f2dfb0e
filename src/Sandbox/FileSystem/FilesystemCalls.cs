using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using InterpreterKernel.Sandbox.Http;

namespace InterpreterKernel.Sandbox.FileSystem;

/// <summary>The unary calls of envd's filesystem service.</summary>
internal static class FilesystemCalls
{
    public const string Service = "filesystem.Filesystem/";

    public static async Task<IReadOnlyList<FileEntry>> ListAsync(EnvdClient envd, string path, int depth, string? user, CancellationToken ct)
    {
        var doing = $"Listing {path}";
        var answer = await CallAsync(
            envd, "ListDir", new ListBody(path, Math.Max(1, depth)), FilesystemJson.Default.ListBody, FilesystemJson.Default.EntriesAnswer, doing, user, ct);
        return Array.ConvertAll(answer.Entries ?? [], EntryOf);
    }

    public static async Task<FileEntry> StatAsync(EnvdClient envd, string path, string? user, CancellationToken ct)
    {
        var doing = $"Looking at {path}";
        var answer = await CallAsync(envd, "Stat", new PathBody(path), FilesystemJson.Default.PathBody, FilesystemJson.Default.EntryAnswer, doing, user, ct);
        return EntryOf(answer.Entry ?? throw Failure.OfBrokenConnection(new InvalidDataException("there is no entry in it"), doing, envd.Where));
    }

    /// <summary>True when it is made now, false when it was there.</summary>
    public static async Task<bool> MakeDirectoryAsync(EnvdClient envd, string path, string? user, CancellationToken ct)
    {
        try
        {
            await CallAsync(
                envd, "MakeDir", new PathBody(path), FilesystemJson.Default.PathBody, FilesystemJson.Default.EntryAnswer, $"Making the directory {path}", user, ct);
            return true;
        }
        catch (SandboxException e) when (e.ErrorCode == "already_exists")
        {
            return false;
        }
    }

    public static async Task<FileEntry> MoveAsync(EnvdClient envd, string source, string destination, string? user, CancellationToken ct)
    {
        var doing = $"Moving {source} to {destination}";
        var answer = await CallAsync(
            envd, "Move", new MoveBody(source, destination), FilesystemJson.Default.MoveBody, FilesystemJson.Default.EntryAnswer, doing, user, ct);
        return EntryOf(answer.Entry ?? throw Failure.OfBrokenConnection(new InvalidDataException("there is no entry in it"), doing, envd.Where));
    }

    public static Task RemoveAsync(EnvdClient envd, string path, string? user, CancellationToken ct) =>
        CallAsync(envd, "Remove", new PathBody(path), FilesystemJson.Default.PathBody, FilesystemJson.Default.EntryAnswer, $"Removing {path}", user, ct);

    private static async Task<TAnswer> CallAsync<TBody, TAnswer>(
        EnvdClient envd, string method, TBody body, JsonTypeInfo<TBody> bodyType, JsonTypeInfo<TAnswer> answerType, string doing, string? user, CancellationToken ct)
    {
        var json = JsonSerializer.SerializeToUtf8Bytes(body, bodyType);
        var answer = await envd.UnaryAsync(Service + method, json, "application/json", doing, user, ct);
        try
        {
            return JsonSerializer.Deserialize(answer.Body, answerType) ?? throw new JsonException("the body is null");
        }
        catch (JsonException e)
        {
            throw Failure.OfBrokenConnection(e, doing, envd.Where);
        }
    }

    private static FileEntry EntryOf(EntryBody body) => new()
    {
        Name = body.Name ?? "",
        Path = body.Path ?? "",
        Type = body.Type switch
        {
            "FILE_TYPE_FILE" => FileEntryType.File,
            "FILE_TYPE_DIRECTORY" => FileEntryType.Directory,
            _ => FileEntryType.Other,
        },
        Size = body.Size,
        Mode = (int)(body.Mode & 0xFFFF),
        Permissions = body.Permissions ?? "",
        Owner = body.Owner ?? "",
        Group = body.Group ?? "",
        ModifiedTime = body.ModifiedTime,
        SymlinkTarget = body.SymlinkTarget,
    };
}
