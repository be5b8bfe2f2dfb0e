using System.Text;

namespace InterpreterKernel.Sandbox.Http;

/// <summary>
/// Header values that come from outside are checked before HttpClient sees them: its own complaint would print the value,
/// and the value may be a secret.
/// </summary>
internal static class HeaderText
{
    public static bool IsSafe(string text) => text.Length is > 0 and <= 8192 && text.All(c => c is >= ' ' and <= '~');

    public static string Checked(string text, string what) => IsSafe(text)
        ? text
        : throw new SandboxException(SandboxFault.InvalidRequest, $"The {what} holds characters that no HTTP header can carry (a line break, perhaps).");

    /// <summary>HTTP Basic for a Unix user of the sandbox: a name and no password.</summary>
    public static string BasicUser(string user)
    {
        if (user.Length is 0 or > 256 || user.Any(c => char.IsControl(c) || c == ':'))
        {
            throw new SandboxException(SandboxFault.InvalidRequest, "That is not the name of a Unix user.");
        }

        return "Basic " + Convert.ToBase64String(Encoding.UTF8.GetBytes(user + ":"));
    }
}
