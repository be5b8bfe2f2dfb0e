using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using InterpreterKernel.Protocol.Relay;
using InterpreterKernel.Sandbox;

namespace InterpreterKernel.Kernel.Remote;

/// <summary>The relay's program, named by its hash, so that a sandbox never runs another version's.</summary>
internal sealed record RelayFile(byte[] Content, string Hash)
{
    /// <summary>Where the relay lives in the sandbox: a place that every user of every template can write to.</summary>
    private const string Folder = "/tmp/.interpreter-kernel";

    private const string Head =
        """import sys; __file__ = sys.argv.pop(1); exec(compile(open(__file__).read().partition("\n# ==== the daemon")[0], __file__, "exec")); sys.exit(main(sys.argv[1:]))""";

    /// <summary>
    /// Takes the file off the standard input first, of which the rest is the link: one request less than an upload, and what was
    /// damaged on the way never runs. Before it stands the file's own function that this calls.
    /// </summary>
    private const string Bring = """
        import os, sys, zlib
        take_connection()
        path, size, checksum, content = sys.argv[1], int(sys.argv.pop(2)), int(sys.argv.pop(2)), b""
        while len(content) < size:
            piece = os.read(0, size - len(content))
            if not piece:
                sys.exit("the relay did not arrive whole")
            content += piece
        if zlib.crc32(content) != checksum:
            sys.exit("the relay was damaged on its way")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open("%s.%d" % (path, os.getpid()), "wb") as file:
            file.write(content)
        os.replace(file.name, path)

        """;

    private static readonly string[] s_attach = ["attach", "--serve", "--dir", Folder + "/relay"];

    /// <summary>The relay of this version.</summary>
    public static RelayFile Current { get; } = Load();

    /// <summary>Its place in the sandbox.</summary>
    public string Path => $"{Folder}/relay-{Hash}.py";

    /// <summary>
    /// Connects to the daemon, and starts it where there is none. Without site-packages, which it does not need, and with only the head of the
    /// file compiled, which has all of it, it is up in a third of the time.
    /// </summary>
    public ProcessStart Attach => new("python3", ["-S", "-c", Head, Path, .. s_attach]);

    /// <summary>The same where the file is not there yet: it reads <see cref="Content"/> from its input first.</summary>
    public ProcessStart AttachFirst => new(
        "python3",
        ["-S", "-c", TakeConnection + Bring + Head, Path, Invariant(Content.Length), Invariant(RelayChecksum.Of(Content)), .. s_attach]);

    /// <summary>The source of the file's function of that name.</summary>
    private string TakeConnection
    {
        get
        {
            var text = Encoding.UTF8.GetString(Content);
            var start = text.IndexOf("def take_connection():\n", StringComparison.Ordinal);
            return text[start..(text.IndexOf("\n\n\n", start, StringComparison.Ordinal) + 1)];
        }
    }

    /// <summary>Starts the daemon with a kernel; ends when that answers.</summary>
    public ProcessStart Serve(string kernel) => new("python3", ["-S", Path, "serve", "--dir", Folder + "/relay", "--kernel", kernel]);

    private static string Invariant(long number) => number.ToString(CultureInfo.InvariantCulture);

    private static RelayFile Load()
    {
        using var resource = typeof(RelayFile).Assembly.GetManifestResourceStream("relay.py")!;
        var content = new byte[resource.Length];
        resource.ReadExactly(content);
        return new RelayFile(content, Convert.ToHexStringLower(SHA256.HashData(content).AsSpan(0, 8)));
    }
}
