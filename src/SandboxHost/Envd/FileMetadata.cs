using Microsoft.AspNetCore.Http;

namespace InterpreterKernel.SandboxHost.Envd;

/// <summary>The metadata of an upload: headers <c>X-Metadata-KEY: value</c>, kept with the file as extended attributes (e2b-wire.md section 4.3).</summary>
internal static class FileMetadata
{
    private const string Prefix = "X-Metadata-";
    private const int MaxKey = 246;
    private const int MaxTotal = 4096;

    /// <summary>Keys are told in small letters, as header names have no case of their own.</summary>
    /// <exception cref="InvalidDataException">It is more, or something else, than a file can carry.</exception>
    internal static IReadOnlyDictionary<string, string> Read(IHeaderDictionary headers)
    {
        var metadata = new SortedDictionary<string, string>(StringComparer.Ordinal);
        var total = 0;
        foreach (var (name, value) in headers.Where(h => h.Key.StartsWith(Prefix, StringComparison.OrdinalIgnoreCase)))
        {
            var (key, text) = (name[Prefix.Length..].ToLowerInvariant(), value.ToString());
            total += key.Length + text.Length;
            if (key.Length is 0 or > MaxKey || total > MaxTotal || (key + text).Any(c => c is < ' ' or > '~'))
            {
                throw new InvalidDataException($"metadata must be printable ASCII, its keys 1 to {MaxKey} and all of it at most {MaxTotal} characters");
            }

            metadata[key] = text;
        }

        return metadata;
    }
}
