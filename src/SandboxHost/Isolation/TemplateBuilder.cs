using System.Security.Cryptography;
using System.Text;
using InterpreterKernel.SandboxHost.Agent;
using InterpreterKernel.SandboxHost.CodeInterpreter;

namespace InterpreterKernel.SandboxHost.Isolation;

/// <summary>
/// Turns an interpreter of this machine into a <see cref="Template"/>: the system's programs and libraries and the
/// interpreter's own prefixes are shown read-only; of <c>/etc</c> only what is named here, the rest is synthetic.
/// Homes, <c>/run</c> with its sockets, <c>/var</c> and <c>/opt</c> are not there at all.
/// </summary>
internal sealed class TemplateBuilder(HostLayout layout)
{
    internal const string AgentPath = "/etc/sandbox-agent.py";
    internal const string CodeInterpreterPath = "/etc/sandbox-interpreter";

    // agent.py knows it as well.
    private const string TasksPath = "/etc/sandbox-agent";

    private const UnixFileMode Directories = (UnixFileMode)0b111_101_101;
    private const UnixFileMode Files = (UnixFileMode)0b110_100_100;
    private const long MaxCopy = 16 << 20;

    /// <summary>Writable, with a size, and fresh for each sandbox; mount points below them are made by the runtime.</summary>
    private static readonly string[] s_writable = ["/home/user", "/tmp", "/run/ik", "/dev", "/proc"];

    private static readonly string[] s_systemDirectories = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];

    private static readonly string[] s_etcDirectories = ["alternatives", "ssl/certs", "pki/tls/certs", "pki/ca-trust/extracted", "fonts", "ld.so.conf.d", "R"];

    private static readonly string[] s_etcPatterns = ["python3*", "java-*"];

    private static readonly string[] s_etcFiles =
    [
        "ld.so.cache", "ld.so.conf", "localtime", "timezone", "matplotlibrc", "mime.types", "locale.alias", "inputrc", "services",
        "protocols", "magic", "papersize", "debian_version", "os-release", "redhat-release", "ssl/openssl.cnf",
    ];

    /// <summary>Prefixes that would show far more than an interpreter.</summary>
    private static readonly string[] s_tooMuch =
        ["/", "/home", "/root", "/etc", "/var", "/tmp", "/run", "/proc", "/sys", "/dev", "/opt", "/mnt", "/srv", "/media", "/boot", "/home/user"];

    /// <summary>The template of an interpreter of this machine.</summary>
    internal Template Build(Interpreter interpreter)
    {
        if (interpreter.Version is [< 3, ..] or [3, < 9])
        {
            throw new SandboxHostException(
                SandboxHostFault.Template,
                $"{interpreter.Executable} is Python {string.Join('.', interpreter.Version)}; sandboxes need 3.9 or later");
        }

        var parts = new List<TemplatePart>();
        var links = new Dictionary<string, string>();
        foreach (var name in s_systemDirectories)
        {
            AddSystem("/" + name, "/" + name, parts, links);
        }

        foreach (var name in s_etcDirectories.Concat(s_etcPatterns.SelectMany(p => Directory.EnumerateDirectories("/etc", p).Select(d => d["/etc/".Length..]))))
        {
            var path = "/etc/" + name;
            if (Directory.Exists(path) && new DirectoryInfo(path).LinkTarget is null)
            {
                parts.Add(new TemplatePart(path, path));
            }
        }

        foreach (var prefix in interpreter.Prefixes.Select(Path.TrimEndingDirectorySeparator).Distinct().OrderBy(p => p.Length))
        {
            if (!Covered(prefix, parts))
            {
                parts.Add(new TemplatePart(RefuseTooMuch(prefix, interpreter), prefix));
            }
        }

        if (!Covered(interpreter.Real, parts))
        {
            throw new SandboxHostException(
                SandboxHostFault.Template, $"{interpreter.Executable} leads to {interpreter.Real}, which lies outside its own installation and the system's");
        }

        string[] searchPath = [Path.GetDirectoryName(interpreter.Executable)!, "/usr/local/bin", "/usr/bin", "/bin"];
        return Write(parts, links, interpreter.Real, string.Join(':', searchPath.Distinct()), syntheticEtc: true);
    }

    /// <summary>The template of a directory with a root file system.</summary>
    internal Template Build(string rootFilesystem)
    {
        var root = Path.GetFullPath(rootFilesystem);
        var python = ((string[])["/usr/local/bin/python3", "/usr/bin/python3", "/opt/conda/bin/python3"])
            .FirstOrDefault(p => new FileInfo(root + p) is { Exists: true } or { LinkTarget: not null })
            ?? throw new SandboxHostException(
                SandboxHostFault.Template, $"{root} has no python3 in /usr/local/bin, /usr/bin or /opt/conda/bin; the sandbox's agent needs Python 3.9 or later");
        var parts = new List<TemplatePart>();
        var links = new Dictionary<string, string>();
        foreach (var entry in new DirectoryInfo(root).EnumerateDirectories())
        {
            if (entry.Name is not ("dev" or "proc" or "sys" or "run" or "tmp" or "home" or "mnt" or "media" or "boot" or "lost+found" or "etc"))
            {
                AddSystem(entry.FullName, "/" + entry.Name, parts, links);
            }
        }

        foreach (var entry in Directory.Exists(root + "/etc") ? new DirectoryInfo(root + "/etc").EnumerateDirectories() : [])
        {
            if (entry.LinkTarget is null)
            {
                parts.Add(new TemplatePart(entry.FullName, "/etc/" + entry.Name));
            }
        }

        string[] path = [Path.GetDirectoryName(python)!, "/usr/local/bin", "/usr/bin", "/bin"];
        return Write(parts, links, python, string.Join(':', path.Distinct()), syntheticEtc: false, root);
    }

    private static void AddSystem(string source, string destination, List<TemplatePart> parts, Dictionary<string, string> links)
    {
        var info = new DirectoryInfo(source);
        if (info.LinkTarget is { } target)
        {
            links[destination] = target;
        }
        else if (info.Exists)
        {
            parts.Add(new TemplatePart(source, destination));
        }
    }

    private static string RefuseTooMuch(string prefix, Interpreter interpreter)
    {
        var home = Path.TrimEndingDirectorySeparator(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile));
        var showsHome = home.Length > 1 && (home + "/").StartsWith(prefix + "/", StringComparison.Ordinal);
        return showsHome || s_tooMuch.Contains(prefix) || !Directory.Exists(prefix)
            ? throw new SandboxHostException(
                SandboxHostFault.Template,
                $"{interpreter.Executable} has {prefix} as its prefix, and showing all of that to a sandbox would show too much; use a venv or conda environment in a directory of its own")
            : prefix;
    }

    private static bool Covered(string path, IEnumerable<TemplatePart> parts) =>
        parts.Any(part => path == part.Destination || path.StartsWith(part.Destination + "/", StringComparison.Ordinal));

    private Template Write(List<TemplatePart> parts, Dictionary<string, string> links, string python, string searchPath, bool syntheticEtc, string source = "")
    {
        var description = string.Join('\n', parts.Select(p => p.Source + ":" + p.Destination).Append(python));
        var name = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(description)))[..16];
        var skeleton = Path.Combine(layout.Templates, name);
        var template = new Template(skeleton, parts, python, searchPath);
        if (Directory.Exists(skeleton))
        {
            return template;
        }

        // Made beside its place and moved there when complete: a cancelled start must not leave half of one.
        var draft = skeleton + ".new";
        if (Directory.Exists(draft))
        {
            Directory.Delete(draft, recursive: true);
        }

        foreach (var directory in (string[])["/", "/etc", "/home/user", "/tmp", "/run/ik", "/dev", "/proc", "/sys/fs/cgroup", "/root", "/var", "/usr"])
        {
            MakeDirectory(draft, directory);
        }

        // runc gives a file system in memory the mode of the directory below it, whatever its mount options say.
        File.SetUnixFileMode(draft + "/tmp", Directories | UnixFileMode.GroupWrite | UnixFileMode.OtherWrite | UnixFileMode.StickyBit);

        foreach (var (path, target) in links.Append(new("/var/tmp", "../tmp")))
        {
            File.CreateSymbolicLink(draft + path, target);
        }

        foreach (var part in parts.Where(p => !s_writable.Any(w => p.Destination.StartsWith(w + "/", StringComparison.Ordinal))))
        {
            MakeDirectory(draft, part.Destination);
        }

        if (syntheticEtc)
        {
            foreach (var file in s_etcFiles)
            {
                CopyReadable("/etc/" + file, draft);
            }
        }
        else
        {
            foreach (var file in Directory.EnumerateFiles(source + "/etc"))
            {
                CopyReadable(file, draft, file[source.Length..]);
            }
        }

        WriteIdentity(draft);
        WriteFile(draft, AgentPath, AgentSource.Read());
        MakeDirectory(draft, TasksPath);
        foreach (var (file, text) in AgentSource.Tasks())
        {
            WriteFile(draft, $"{TasksPath}/{file}", text);
        }

        MakeDirectory(draft, CodeInterpreterPath);
        foreach (var file in CodeInterpreterSource.Files)
        {
            WriteFile(draft, CodeInterpreterPath + "/" + file, CodeInterpreterSource.Read(file));
        }

        Directory.Move(draft, skeleton);
        return template;
    }

    private void WriteIdentity(string draft)
    {
        // One id mapped: it is 0 inside, and "user" is its name. It has no privilege either way.
        var id = layout.AsRoot ? 1000 : 0;
        var root = layout.AsRoot ? "root:x:0:0:root:/root:/usr/sbin/nologin\n" : "";
        var rootGroup = layout.AsRoot ? "root:x:0:\n" : "";
        WriteFile(draft, "/etc/passwd", $"user:x:{id}:{id}:user:/home/user:/bin/bash\n{root}nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n");
        WriteFile(draft, "/etc/group", $"user:x:{id}:\n{rootGroup}nogroup:x:65534:\n");
        WriteFile(draft, "/etc/hosts", "127.0.0.1 localhost sandbox\n::1 localhost ip6-localhost\n");
        WriteFile(draft, "/etc/hostname", "sandbox\n");
        WriteFile(draft, "/etc/resolv.conf", "");
        WriteFile(draft, "/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n");

        // Debian's own would overwrite PATH, and a login shell would find another python3 than the template's.
        WriteFile(draft, "/etc/profile", "umask 022\nPS1='\\u@\\h:\\w\\$ '\n");
    }

    private static void CopyReadable(string file, string draft, string? destination = null)
    {
        destination ??= file;
        var info = new FileInfo(file);
        if (!info.Exists)
        {
            return;
        }

        if (info.LinkTarget is { } target && target.StartsWith("/usr/", StringComparison.Ordinal))
        {
            MakeDirectory(draft, Path.GetDirectoryName(destination)!);
            File.CreateSymbolicLink(draft + destination, target);
            return;
        }

        // What strangers may not read on the machine is not shown to a sandbox either.
        if (info.ResolveLinkTarget(returnFinalTarget: true) is FileInfo real)
        {
            info = real;
        }

        if (info.Length <= MaxCopy && info.UnixFileMode.HasFlag(UnixFileMode.OtherRead) && !File.Exists(draft + destination))
        {
            MakeDirectory(draft, Path.GetDirectoryName(destination)!);
            File.Copy(info.FullName, draft + destination);
            File.SetUnixFileMode(draft + destination, Files);
        }
    }

    /// <summary>Makes a directory and those above it, open to all whatever our umask.</summary>
    private static void MakeDirectory(string draft, string path)
    {
        var full = draft;
        foreach (var piece in path.Split('/'))
        {
            // The first piece is empty: the root itself.
            full = piece.Length == 0 ? draft : full + "/" + piece;
            if (!Directory.Exists(full))
            {
                Directory.CreateDirectory(full);
                File.SetUnixFileMode(full, Directories);
            }
        }
    }

    private static void WriteFile(string draft, string path, string content)
    {
        File.Delete(draft + path);
        File.WriteAllText(draft + path, content);
        File.SetUnixFileMode(draft + path, Files);
    }
}
