using System.CommandLine;
using InterpreterKernel.Kernel.Configuration;

namespace InterpreterKernel.Kernel.Commands;

/// <summary>The configuration keys as options of a command, under the same names as everywhere (DESIGN 3.2).</summary>
internal sealed class SettingOptions
{
    private readonly Dictionary<SettingKey, Option<string>> _options = [];

    /// <summary>Adds every key, or those named, to <paramref name="command"/>.</summary>
    public SettingOptions(Command command)
    {
        foreach (var key in SettingKeys.All)
        {
            // --timeout is what people look for; the long name is the one that reads the same everywhere.
            string[] alias = key.Name == SettingKeys.CellTimeout ? ["--timeout"] : [];
            var option = new Option<string>(key.Option, alias) { Description = key.Help, HelpName = key.Name };
            _options.Add(key, option);
            command.Options.Add(option);
        }
    }

    /// <summary>The keys given on the command line, name to text.</summary>
    public IReadOnlyDictionary<string, string> Given(ParseResult parsed) =>
        _options.Where(o => parsed.GetResult(o.Value) is { Implicit: false })
            .ToDictionary(o => o.Key.Name, o => parsed.GetValue(o.Value) ?? "");

    /// <summary>All sources together; null, with the faults told on stderr, when any is wrong.</summary>
    public Settings? Read(ParseResult parsed) => Read(Given(parsed));

    /// <summary>File, environment and <paramref name="given"/> together; null, with the faults told on stderr, when any is wrong.</summary>
    public static Settings? Read(IReadOnlyDictionary<string, string> given)
    {
        var settings = SettingsReader.Read(given, Environment.GetEnvironmentVariable, SettingsReader.UserFile(), out var faults);
        if (faults.Count == 0)
        {
            return settings;
        }

        Console.Error.WriteLine("interpreter-kernel: the configuration has faults; nothing was started.");
        foreach (var fault in faults)
        {
            Console.Error.WriteLine("  " + fault);
        }

        return null;
    }
}
