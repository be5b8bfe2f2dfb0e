using System.Text.Json;

namespace InterpreterKernel.Kernel.Configuration;

/// <summary>
/// Puts the sources together, later ones winning: defaults, the user's file, the environment, the command line
/// (which is where a kernelspec's arguments arrive). All faults are collected, none hides another.
/// </summary>
internal static class SettingsReader
{
    private const int MaxFileBytes = 1 << 20;

    /// <summary>Reads every source.</summary>
    /// <param name="arguments">Key name to text, as given on the command line.</param>
    /// <param name="environment">Looks an environment variable up.</param>
    /// <param name="file">The user's file; one that is not there counts as empty.</param>
    /// <param name="faults">One line each: where, which key, what would be right.</param>
    public static Settings Read(
        IReadOnlyDictionary<string, string> arguments, Func<string, string?> environment, string? file, out IReadOnlyList<string> faults)
    {
        var found = new List<string>();
        var settings = new Settings();
        foreach (var (key, text, source) in FromFile(file, found)
            .Concat(SettingKeys.All.Select(k => (k, environment(k.Variable) ?? "", $"environment variable {k.Variable}")))
            .Concat(SettingKeys.All.Select(k => (k, arguments.GetValueOrDefault(k.Name, ""), $"option {k.Option}"))))
        {
            if (text.Length == 0)
            {
                continue;
            }

            if (key.Apply(settings, text) is { } changed)
            {
                settings = changed;
            }
            else
            {
                found.Add($"{source}: '{text}' is not right for {key.Name}; expected is {key.Expected}.");
            }
        }

        faults = found;
        return settings;
    }

    /// <summary>Where the user's file is: <c>$XDG_CONFIG_HOME</c> or <c>~/.config</c>, then <c>interpreter-kernel/config.json</c>.</summary>
    public static string UserFile() =>
        Path.Combine(
            Environment.GetFolderPath(Environment.SpecialFolder.ApplicationData, Environment.SpecialFolderOption.DoNotVerify),
            "interpreter-kernel",
            "config.json");

    private static IEnumerable<(SettingKey Key, string Text, string Source)> FromFile(string? file, List<string> faults)
    {
        if (file is null || !File.Exists(file))
        {
            yield break;
        }

        JsonDocument document;
        try
        {
            if (new FileInfo(file).Length > MaxFileBytes)
            {
                faults.Add($"{file}: larger than {MaxFileBytes} bytes, which no configuration is.");
                yield break;
            }

            document = JsonDocument.Parse(
                File.ReadAllBytes(file), new JsonDocumentOptions { CommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true });
        }
        catch (Exception e) when (e is JsonException or IOException or UnauthorizedAccessException)
        {
            faults.Add($"{file}: can't be read: {e.Message}");
            yield break;
        }

        using (document)
        {
            if (document.RootElement.ValueKind != JsonValueKind.Object)
            {
                faults.Add($"{file}: must hold one JSON object.");
                yield break;
            }

            foreach (var property in document.RootElement.EnumerateObject())
            {
                if (SettingKeys.All.FirstOrDefault(k => k.Name == property.Name) is not { } key)
                {
                    faults.Add($"{file}: there is no key '{property.Name}'; known are {string.Join(", ", SettingKeys.All.Select(k => k.Name))}.");
                    continue;
                }

                var text = property.Value.ValueKind switch
                {
                    JsonValueKind.String => property.Value.GetString()!,
                    JsonValueKind.Number or JsonValueKind.True or JsonValueKind.False => property.Value.GetRawText(),
                    JsonValueKind.Array => string.Join(',', property.Value.EnumerateArray().Select(e => e.ToString())),
                    _ => null,
                };
                if (text is null)
                {
                    faults.Add($"{file}: {key.Name} is neither text nor a number; expected is {key.Expected}.");
                    continue;
                }

                yield return (key, text, file);
            }
        }
    }
}
