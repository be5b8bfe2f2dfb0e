using System.Security.Cryptography;
using System.Text;

namespace InterpreterKernel.Broker;

/// <summary>The metadata by which a sandbox of ours is found again.</summary>
internal static class SandboxTags
{
    /// <summary>What all our keys start with; a claim may not use it.</summary>
    public const string Prefix = "interpreter-kernel.";

    /// <summary>The broker that created it: an id that is never used twice.</summary>
    public const string Broker = Prefix + "broker";

    /// <summary>Machine and user of that broker, as an opaque word.</summary>
    public const string Host = Prefix + "host";

    /// <summary>The claim it was created for.</summary>
    public const string Claim = Prefix + "claim";

    /// <summary>Embedded host: which Python is the template.</summary>
    public const string Python = Prefix + "python";

    /// <summary>Embedded host: how large the sandbox is.</summary>
    public const string Resources = Prefix + "resources";

    /// <summary>This machine and user. Hashed, because a machine id should not leave the machine.</summary>
    public static string ThisHost()
    {
        var machine = "";
        foreach (var path in (ReadOnlySpan<string>)["/etc/machine-id", "/var/lib/dbus/machine-id"])
        {
            if (File.Exists(path))
            {
                machine = File.ReadAllText(path).Trim();
                break;
            }
        }

        var identity = $"interpreter-kernel:{(machine.Length > 0 ? machine : Environment.MachineName)}:{Posix.EffectiveUserId()}";
        return Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(identity)).AsSpan(0, 12));
    }
}
