using InterpreterKernel.Sandbox;

namespace InterpreterKernel.Kernel.Configuration;

/// <summary>Which sandbox service E2B's own variables name (DESIGN 3.2). With none of them set: the embedded host.</summary>
internal static class ConfiguredService
{
    private static readonly string[] s_variables = ["E2B_API_KEY", "E2B_API_URL", "E2B_SANDBOX_URL", "E2B_DOMAIN", "E2B_DEBUG"];

    /// <summary>Reads the variables.</summary>
    /// <param name="environment">Looks an environment variable up.</param>
    /// <param name="fault">What is wrong with them; no secret is in it.</param>
    /// <returns>Null for the embedded host, and when there is a fault.</returns>
    public static SandboxConnection? Read(Func<string, string?> environment, out string? fault)
    {
        fault = null;
        var given = s_variables.ToDictionary(name => name, environment);
        if (given.Values.All(string.IsNullOrWhiteSpace) || (OnlySaysNoDebug(given) && given.Count(v => !string.IsNullOrWhiteSpace(v.Value)) == 1))
        {
            return null;
        }

        try
        {
            return SandboxConnection.FromEnvironment(given);
        }
        catch (SandboxException e)
        {
            fault = e.Message;
            return null;
        }
    }

    // E2B_DEBUG=false names no service.
    private static bool OnlySaysNoDebug(Dictionary<string, string?> given) =>
        given["E2B_DEBUG"] is { } debug && !debug.Trim().Equals("true", StringComparison.OrdinalIgnoreCase) && debug.Trim() != "1";
}
