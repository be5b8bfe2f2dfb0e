using System.Diagnostics;
using System.Net;
using System.Text.Json;

namespace InterpreterKernel.SandboxHost.Tests;

/// <summary>What a sandbox is made of: the system's interpreter, a virtual environment, a directory.</summary>
public sealed class TemplateTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("ik-template-").FullName;

    public TemplateTests() => File.SetUnixFileMode(_directory, (UnixFileMode)0b111_000_000);

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public async Task A_virtual_environment_is_shown_at_its_own_path_and_nothing_beside_it()
    {
        var venv = await VenvAsync("/usr/bin/python3");
        await File.WriteAllTextAsync(Path.Combine(_directory, "secret"), "hush");
        await using var host = await TestHost.StartAsync(o => o with { Python = venv + "/bin/python3" });
        var sandbox = await host.Client.CreateAsync();

        (await sandbox.RunAsync("command -v python3; python3 -c 'import sys, marker; print(sys.prefix, marker.__name__)'")).Stdout.ShouldBe($"{venv}/bin/python3\n{venv} marker\n");
        (await sandbox.RunAsync($"ls -A {_directory}; touch {venv}/x 2>/dev/null || echo read-only")).Stdout.ShouldBe("venv\nread-only\n");
    }

    [Fact]
    public async Task A_caller_on_the_socket_may_name_the_interpreter_of_a_sandbox()
    {
        var venv = await VenvAsync("/usr/bin/python3");
        await using var host = await TestHost.StartAsync();
        string Body(string python) => JsonSerializer.Serialize(new { templateID = "base", metadata = new Dictionary<string, string> { ["interpreter-kernel.python"] = python } });

        var sandbox = await host.Client.CreateAsync(Body(venv + "/bin/python3"));
        (await sandbox.RunAsync("python3 -c 'import sys; print(sys.prefix)'")).Stdout.ShouldBe(venv + "\n");
        (await (await host.Client.CreateAsync()).RunAsync("python3 -c 'import sys; print(sys.prefix)'")).Stdout.ShouldBe("/usr\n");

        foreach (var bad in (string[])["/nonexistent/python", "relative/python", "/bin/true", "/etc/passwd"])
        {
            using var refused = await host.Client.PostAsync("/v2/sandboxes", Body(bad));
            refused.StatusCode.ShouldBe(HttpStatusCode.BadRequest, bad);
            (await HostClient.JsonAsync(refused)).GetProperty("message").GetString()!.ShouldContain(bad);
        }
    }

    [Fact]
    public async Task An_interpreter_whose_prefix_would_show_too_much_is_refused()
    {
        // Its answer is forged: a prefix of / would show the whole machine.
        var python = Path.Combine(_directory, "python3");
        await File.WriteAllTextAsync(python, """
            #!/bin/sh
            echo '{"executable":"/usr/bin/python3","real":"/usr/bin/python3","version":[3,11],"prefixes":["/root"]}'
            """);
        File.SetUnixFileMode(python, (UnixFileMode)0b111_101_101);

        var refusal = await Should.ThrowAsync<SandboxHostException>(async () => await (await TestHost.StartAsync(o => o with { Python = python })).DisposeAsync());

        refusal.Reason.ShouldBe(SandboxHostFault.Template);
        refusal.Message.ShouldContain("too much");
    }

    [Fact]
    public async Task A_directory_with_a_root_file_system_can_be_the_template()
    {
        // The least that runs Python: its binary, its library, and the shared objects that both need.
        var root = Path.Combine(_directory, "root");
        await RunAsync("/bin/sh", "-c", $"""
            set -e
            mkdir -p {root}/usr/bin {root}/usr/lib {root}/etc
            cp /usr/bin/python3.11 {root}/usr/bin/python3
            cp /bin/dash {root}/usr/bin/sh
            ln -s usr/bin {root}/bin; ln -s usr/lib {root}/lib; ln -s usr/lib64 {root}/lib64
            cp -r /usr/lib/python3.11 {root}/usr/lib/
            for f in $(ldd /usr/bin/python3.11 /bin/dash /usr/lib/python3.11/lib-dynload/_ctypes*.so | grep -o '/[^ ]*' | grep -v ':$' | sort -u); do mkdir -p {root}/usr$(dirname $f); cp -L $f {root}/usr$f; done
            echo marker > {root}/etc/marker
            chmod -R a+rX {root}
            """);
        await using var host = await TestHost.StartAsync(o => o with { RootFilesystem = root });
        var sandbox = await host.Client.CreateAsync();
        var request = new InterpreterKernel.Protocol.Envd.StartRequest
        {
            Process = new InterpreterKernel.Protocol.Envd.ProcessConfig { Cmd = "sh", Args = { "-c", "python3 -c 'import os; print(sorted(os.listdir(\"/\")), open(\"/etc/marker\").read())'; cat /usr/bin/bash; echo > /usr/x" } },
        };
        await using var stream = await sandbox.StreamAsync("Start", request);

        var result = await stream.ReadToEndAsync();

        result.Stdout.ShouldBe("['bin', 'dev', 'etc', 'home', 'lib', 'lib64', 'proc', 'root', 'run', 'sys', 'tmp', 'usr', 'var'] marker\n\n");
        result.ExitCode.ShouldNotBe(0);
    }

    private static async Task RunAsync(string command, params string[] arguments)
    {
        using var process = Process.Start(command, arguments);
        await process.WaitForExitAsync();
        process.ExitCode.ShouldBe(0);
    }

    private async Task<string> VenvAsync(string python)
    {
        var venv = Path.Combine(_directory, "venv");
        await RunAsync(python, "-m", "venv", "--without-pip", venv);
        await File.WriteAllTextAsync(Directory.EnumerateDirectories(venv + "/lib").Single() + "/site-packages/marker.py", "");
        await RunAsync("/bin/chmod", "-R", "a+rX", venv);
        return venv;
    }
}
