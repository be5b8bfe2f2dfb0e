using System.Net;

namespace InterpreterKernel.SandboxHost;

/// <summary>How the embedded host runs. Faults are found together, when it starts.</summary>
public sealed record SandboxHostOptions
{
    /// <summary>
    /// Directory for what must be known after a crash, ours alone (0700). One host at a time. As root the container
    /// files live in <c>/run/interpreter-kernel-host/</c> instead, under a name made from this path: the mapped users of
    /// a sandbox must be able to pass through every directory above its root file system.
    /// </summary>
    public required string StateDirectory { get; init; }

    /// <summary>Socket to listen on; only this user may connect.</summary>
    public string? UnixSocket { get; init; }

    /// <summary>Address to listen on, such as <c>http://127.0.0.1:3000</c>; port 0 picks one. Needs <see cref="ApiKey"/>.</summary>
    public Uri? ListenUrl { get; init; }

    /// <summary>Key that callers of the control plane must send; null accepts all who can connect.</summary>
    public string? ApiKey { get; init; }

    /// <summary>How many sandboxes may live at once.</summary>
    /// <value>20.</value>
    public int Limit { get; init; } = 20;

    /// <summary>How many paused sandboxes are kept; they hold no slot, but their memory.</summary>
    /// <value>100.</value>
    public int PausedLimit { get; init; } = 100;

    /// <summary>What each sandbox may use.</summary>
    public SandboxResources Resources { get; init; } = new();

    /// <summary>Interpreter whose installation (system, venv or conda prefix) is the template.</summary>
    /// <value><c>/usr/bin/python3</c>.</value>
    public string? Python { get; init; }

    /// <summary>A directory with a root file system to use as template instead of this machine's own system.</summary>
    public string? RootFilesystem { get; init; }

    /// <summary>Whether sandboxes reach the network. Not built yet: true stops the start.</summary>
    public bool AllowNetwork { get; init; }

    /// <summary>The OCI runtime to use; null looks for <c>runc</c>, then <c>crun</c>.</summary>
    public string? Runtime { get; init; }

    /// <summary>
    /// Limits that may go unenforced, by name: <c>memory</c>, <c>pids</c>, <c>cpu</c>. For an ordinary user without a
    /// delegated cgroup; per-process limits then do what they can.
    /// </summary>
    public IReadOnlyCollection<string> AcceptUnenforced { get; init; } = [];

    /// <summary>The longest a sandbox may live, however often it is prolonged.</summary>
    /// <value>24 hours.</value>
    public TimeSpan MaxLifetime { get; init; } = TimeSpan.FromHours(24);

    /// <summary>Command that sweeps up when this process was killed; it is run only then. Null: no watchdog.</summary>
    public IReadOnlyList<string>? WatchdogCommand { get; init; }

    /// <summary>The clock.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>All that is wrong, each with the option's name and what would be right.</summary>
    internal IReadOnlyList<string> Faults()
    {
        var faults = new List<string>();
        void Check(bool ok, string fault)
        {
            if (!ok)
            {
                faults.Add(fault);
            }
        }

        Check(Path.IsPathFullyQualified(StateDirectory), $"StateDirectory must be an absolute path, not '{StateDirectory}'");
        Check(UnixSocket is not null || ListenUrl is not null, "UnixSocket or ListenUrl must be set");
        Check(UnixSocket is null || Path.IsPathFullyQualified(UnixSocket), $"UnixSocket must be an absolute path, not '{UnixSocket}'");
        Check(UnixSocket is null || System.Text.Encoding.UTF8.GetByteCount(UnixSocket) < 108, "UnixSocket must be shorter than 108 bytes");
        Check(ListenUrl is null or { IsAbsoluteUri: true, Scheme: "http" }, $"ListenUrl must be an http:// address, not '{ListenUrl}'");
        Check(ListenUrl is null || ListenHost() is not null, $"ListenUrl must name an IP address or localhost, not '{ListenUrl}'");
        Check(ListenUrl is null || !string.IsNullOrEmpty(ApiKey), "ApiKey must be set when ListenUrl is: every user of the machine can connect to a port");
        Check(Limit is >= 1 and <= 1000, $"Limit must be 1 to 1000, not {Limit}");
        Check(PausedLimit is >= 0 and <= 1000, $"PausedLimit must be 0 to 1000, not {PausedLimit}");
        Check(Python is null || Path.IsPathFullyQualified(Python), $"Python must be an absolute path, not '{Python}'");
        Check(RootFilesystem is null || Directory.Exists(RootFilesystem), $"RootFilesystem must be a directory, and '{RootFilesystem}' is none");
        Check(!AllowNetwork, "AllowNetwork can't be true yet: this version has only sandboxes without a network");
        faults.AddRange(Resources.Faults());
        Check(MaxLifetime > TimeSpan.Zero, "MaxLifetime must be more than zero");
        Check(AcceptUnenforced.All(name => name is "memory" or "pids" or "cpu"), "AcceptUnenforced may hold memory, pids and cpu");
        return faults;
    }

    /// <summary>The address of <see cref="ListenUrl"/>; null when it is a name other than localhost.</summary>
    internal IPAddress? ListenHost() =>
        ListenUrl is null ? null
        : ListenUrl.Host == "localhost" ? IPAddress.Loopback
        : IPAddress.TryParse(ListenUrl.Host.Trim('[', ']'), out var address) ? address
        : null;
}
