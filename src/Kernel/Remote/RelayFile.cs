using System.Security.Cryptography;
using InterpreterKernel.Sandbox;

namespace InterpreterKernel.Kernel.Remote;

/// <summary>The relay's program, named by its hash, so that a sandbox never runs another version's.</summary>
internal sealed record RelayFile(byte[] Content, string Hash)
{
    /// <summary>Where the relay lives in the sandbox: a place that every user of every template can write to.</summary>
    private const string Folder = "/tmp/.interpreter-kernel";

    private const string Head =
        """import sys; __file__ = sys.argv.pop(1); exec(compile(open(__file__).read().partition("\n# ==== the daemon")[0], __file__, "exec")); sys.exit(main(sys.argv[1:]))""";

    /// <summary>The relay of this version.</summary>
    public static RelayFile Current { get; } = Load();

    /// <summary>Its place in the sandbox.</summary>
    public string Path => $"{Folder}/relay-{Hash}.py";

    /// <summary>
    /// Connects to the daemon, and starts it where there is none. Without site-packages, which it does not need, and with only the head of the
    /// file compiled, which has all of it, it is up in a third of the time.
    /// </summary>
    public ProcessStart Attach => new("python3", ["-S", "-c", Head, Path, "attach", "--serve", "--dir", Folder + "/relay"]);

    /// <summary>Starts the daemon with a kernel; ends when that answers.</summary>
    public ProcessStart Serve(string kernel) => new("python3", ["-S", Path, "serve", "--dir", Folder + "/relay", "--kernel", kernel]);

    /// <summary>Brings it in, once for each sandbox: its name tells its content, its size that all of it arrived.</summary>
    public async Task PutIntoAsync(Sandbox.Sandbox sandbox, bool mayBeThere, CancellationToken cancellationToken)
    {
        if (!mayBeThere || !await IsThereAsync(sandbox, cancellationToken).ConfigureAwait(false))
        {
            await sandbox.Files.WriteAsync(Path, Content, null, cancellationToken).ConfigureAwait(false);
        }
    }

    private static RelayFile Load()
    {
        using var resource = typeof(RelayFile).Assembly.GetManifestResourceStream("relay.py")!;
        var content = new byte[resource.Length];
        resource.ReadExactly(content);
        return new RelayFile(content, Convert.ToHexStringLower(SHA256.HashData(content).AsSpan(0, 8)));
    }

    private async Task<bool> IsThereAsync(Sandbox.Sandbox sandbox, CancellationToken cancellationToken)
    {
        try
        {
            return (await sandbox.Files.GetInfoAsync(Path, null, cancellationToken).ConfigureAwait(false)).Size == Content.Length;
        }
        catch (SandboxException e) when (e.Reason is SandboxFault.NotFound or SandboxFault.Unsupported)
        {
            return false;
        }
    }
}
