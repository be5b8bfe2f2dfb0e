using System.Globalization;
using System.Text.Json;

namespace InterpreterKernel.Broker;

/// <summary>
/// Reads a <see cref="ClaimRequest"/> that came from outside. Unlike a deserializer it names all that is wrong, not the
/// first; unknown fields are left alone, since a newer kernel may talk to an older broker.
/// </summary>
internal sealed class ClaimRequestReader
{
    private const int LongestName = 256;
    private const int LongestText = 4096;
    private const int MostEntries = 256;
    private const int MostSpares = 4;

    private readonly List<RequestFault> _faults = [];

    /// <summary>The request, or else what is wrong with it.</summary>
    public static (ClaimRequest? Request, IReadOnlyList<RequestFault> Faults) Read(ReadOnlyMemory<byte> json)
    {
        try
        {
            using var document = JsonDocument.Parse(json, new JsonDocumentOptions { MaxDepth = 8 });
            var reader = new ClaimRequestReader();
            var request = reader.ReadClaim(document.RootElement);
            return reader._faults.Count == 0 ? (request, []) : (null, reader._faults);
        }
        catch (InvalidOperationException)
        {
            // Half a surrogate pair, written as an escape: valid JSON, but no text.
            return (null, [new RequestFault("", "not Unicode text")]);
        }
        catch (JsonException e)
        {
            return (null, [new RequestFault("", string.Create(CultureInfo.InvariantCulture, $"not JSON (line {e.LineNumber + 1}, byte {e.BytePositionInLine + 1})"))]);
        }
    }

    private ClaimRequest ReadClaim(JsonElement root)
    {
        if (root.ValueKind != JsonValueKind.Object)
        {
            Fault("", "a JSON object is expected");
            return new ClaimRequest { Key = "" };
        }

        var claim = new ClaimRequest
        {
            Key = Text(root, "key", LongestName) ?? "",
            Template = Text(root, "template", LongestName) ?? ClaimRequest.DefaultTemplate,
            Limit = Number(root, "limit", 1, 100_000),
            LifetimeSeconds = Number(root, "lifetimeSeconds", 15, 3600) ?? ClaimRequest.DefaultLifetimeSeconds,
            Metadata = Map(root, "metadata"),
            EnvVars = Map(root, "envVars"),
            Python = Text(root, "python", LongestText),
        };

        if (!HasFault("key") && (claim.Key.Length < 8 || !claim.Key.All(char.IsAsciiHexDigit)))
        {
            Fault("key", "at least 8 hexadecimal digits that identify the connection file are expected");
        }

        if (claim.Template.Length == 0)
        {
            Fault("template", "must not be empty; leave it out for the default");
        }

        if (claim.Python is { } python && !python.StartsWith('/'))
        {
            Fault("python", "an absolute path is expected");
        }

        foreach (var key in claim.Metadata?.Keys.Where(k => k.StartsWith(SandboxTags.Prefix, StringComparison.Ordinal)) ?? [])
        {
            Fault($"metadata.{key}", $"keys that start with {SandboxTags.Prefix} are the broker's own");
        }

        foreach (var name in claim.EnvVars?.Keys.Where(k => k.Length == 0 || k.Contains('=')) ?? [])
        {
            Fault($"envVars.{name}", "the name of an environment variable is not empty and has no =");
        }

        return claim with { Owner = ReadOwner(root), Service = ReadService(root), Wait = ReadWait(root), Resources = ReadResources(root), Spare = ReadSpare(root) };
    }

    private ClaimResources? ReadResources(JsonElement root)
    {
        if (Child(root, "resources") is not { } resources)
        {
            return null;
        }

        return new ClaimResources(
            Size(resources, "memory", 64 << 20),
            Size(resources, "disk", 1 << 20),
            Cpus(resources),
            Number(resources, "pids", 16, int.MaxValue, "resources."));
    }

    private long? Size(JsonElement resources, string name, long least)
    {
        if (Value(resources, name) is not { } given)
        {
            return null;
        }

        if (given.ValueKind == JsonValueKind.Number && given.TryGetInt64(out var bytes) && bytes >= least)
        {
            return bytes;
        }

        Fault($"resources.{name}", string.Create(CultureInfo.InvariantCulture, $"a number of bytes, {least} at least, is expected"));
        return null;
    }

    private double? Cpus(JsonElement resources)
    {
        if (Value(resources, "cpus") is not { } given)
        {
            return null;
        }

        if (given.ValueKind == JsonValueKind.Number && given.TryGetDouble(out var cpus) && cpus is >= 0.05 and <= 1024)
        {
            return cpus;
        }

        Fault("resources.cpus", "a number from 0.05 to 1024 is expected");
        return null;
    }

    private SpareWish? ReadSpare(JsonElement root) => Child(root, "spare") is { } spare
        ? new SpareWish(
            Text(spare, "kernel", LongestName, "spare.") ?? "",
            Text(spare, "relay", LongestName, "spare.") ?? "",
            Number(spare, "count", 0, MostSpares, "spare.") ?? 0)
        : null;

    private ClaimOwner? ReadOwner(JsonElement root) => Child(root, "owner") is { } owner
        ? new ClaimOwner(Number(owner, "pid", 1, int.MaxValue, "owner."), Text(owner, "label", LongestText, "owner."))
        : null;

    private ServiceAddress? ReadService(JsonElement root)
    {
        if (Child(root, "service") is not { } service)
        {
            return null;
        }

        var domain = Text(service, "domain", LongestName, "service.");
        if (domain is not null && Uri.CheckHostName(domain) == UriHostNameType.Unknown)
        {
            Fault("service.domain", "a host name such as e2b.app is expected");
        }

        return new ServiceAddress
        {
            ApiUrl = Address(service, "apiUrl"),
            SandboxUrl = Address(service, "sandboxUrl"),
            Domain = domain,
            ApiKey = Text(service, "apiKey", LongestText, "service."),
            Debug = Flag(service, "debug", "service."),
        };
    }

    private ClaimWait? ReadWait(JsonElement root)
    {
        if (Child(root, "wait") is not { } wait)
        {
            return null;
        }

        var policy = Text(wait, "policy", LongestName, "wait.") ?? ClaimWait.WaitPolicy;
        if (policy is not (ClaimWait.WaitPolicy or ClaimWait.RejectPolicy))
        {
            Fault("wait.policy", "\"wait\" or \"reject\" is expected");
        }

        double? seconds = null;
        if (Value(wait, "seconds") is { } given)
        {
            if (given.ValueKind == JsonValueKind.Number && given.TryGetDouble(out var s) && s is >= 0 and <= 7 * 86_400)
            {
                seconds = s;
            }
            else
            {
                Fault("wait.seconds", "a number of seconds from 0 to a week is expected");
            }
        }

        return new ClaimWait(policy, seconds);
    }

    private Uri? Address(JsonElement service, string name)
    {
        if (Text(service, name, LongestText, "service.") is not { } text)
        {
            return null;
        }

        if (Uri.TryCreate(text, UriKind.Absolute, out var uri) && uri.Scheme is "http" or "https" && uri.UserInfo.Length == 0)
        {
            return uri;
        }

        Fault($"service.{name}", "an absolute http or https address without a user is expected");
        return null;
    }

    private JsonElement? Child(JsonElement parent, string name)
    {
        if (Value(parent, name) is not { } value)
        {
            return null;
        }

        if (value.ValueKind == JsonValueKind.Object)
        {
            return value;
        }

        Fault(name, "an object is expected");
        return null;
    }

    private string? Text(JsonElement parent, string name, int longest, string path = "")
    {
        if (Value(parent, name) is not { } value)
        {
            return null;
        }

        // Strings with control characters have no business in headers, logs and lists.
        if (value.ValueKind == JsonValueKind.String && value.GetString() is { } text && text.Length <= longest && !text.Any(char.IsControl))
        {
            return text;
        }

        Fault(path + name, $"a string of at most {longest} characters without control characters is expected");
        return null;
    }

    private int? Number(JsonElement parent, string name, int least, int most, string path = "")
    {
        if (Value(parent, name) is not { } value)
        {
            return null;
        }

        if (value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var number) && number >= least && number <= most)
        {
            return number;
        }

        Fault(path + name, string.Create(CultureInfo.InvariantCulture, $"a whole number from {least} to {most} is expected"));
        return null;
    }

    private bool Flag(JsonElement parent, string name, string path)
    {
        if (Value(parent, name) is not { } value)
        {
            return false;
        }

        if (value.ValueKind is not (JsonValueKind.True or JsonValueKind.False))
        {
            Fault(path + name, "true or false is expected");
        }

        return value.ValueKind == JsonValueKind.True;
    }

    private Dictionary<string, string>? Map(JsonElement parent, string name)
    {
        if (Child(parent, name) is not { } value)
        {
            return null;
        }

        Dictionary<string, string> map = [];
        foreach (var entry in value.EnumerateObject())
        {
            if (map.Count == MostEntries)
            {
                Fault(name, $"at most {MostEntries} entries are allowed");
                break;
            }

            if (entry.Value.ValueKind == JsonValueKind.String && entry.Name.Length <= LongestName && !entry.Value.GetString()!.Contains('\0'))
            {
                map[entry.Name] = entry.Value.GetString()!;
            }
            else
            {
                Fault($"{name}.{(entry.Name.Length <= LongestName ? entry.Name : entry.Name[..LongestName])}", "a string is expected");
            }
        }

        return map;
    }

    private static JsonElement? Value(JsonElement parent, string name) =>
        parent.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;

    private bool HasFault(string field) => _faults.Exists(f => f.Field == field);

    private void Fault(string field, string message) => _faults.Add(new RequestFault(field, message));
}
