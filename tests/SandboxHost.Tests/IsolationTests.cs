using System.Diagnostics;
using System.Net;
using System.Net.Sockets;

namespace InterpreterKernel.SandboxHost.Tests;

/// <summary>Each attempt fails in a sandbox and works outside it, so that the test would notice if it tried nothing.</summary>
[Collection(SharedHostCollection.Name)]
public sealed class IsolationTests(SharedHost shared) : IAsyncLifetime
{
    private TestSandbox _sandbox = null!;

    public async Task InitializeAsync() => _sandbox = await shared.Client.CreateAsync();

    public async Task DisposeAsync() => await _sandbox.KillAsync();

    [Theory]
    [InlineData("mount", "import ctypes,os; c=ctypes.CDLL(None,use_errno=True); r=c.mount(b'none',b'/tmp',b'tmpfs',0,None); print(r, ctypes.get_errno())")]
    [InlineData("unshare a user namespace", "import ctypes; c=ctypes.CDLL(None,use_errno=True); r=c.unshare(0x10000000); print(r, ctypes.get_errno())")]
    [InlineData("clone a user namespace", "import ctypes; c=ctypes.CDLL(None,use_errno=True); r=c.syscall(56, 0x10000000|17, 0, 0, 0, 0); import os; (os._exit(0) if r==0 else None); print(r if r<0 else 0, ctypes.get_errno())")]
    [InlineData("ptrace", "import ctypes; c=ctypes.CDLL(None,use_errno=True); r=c.ptrace(0,0,0,0); print(r, ctypes.get_errno())")]
    [InlineData("bpf", "import ctypes; c=ctypes.CDLL(None,use_errno=True); r=c.syscall(321, 0, (ctypes.c_uint32*16)(2,4,4,1), 64); print(r if r<0 else 0, ctypes.get_errno())")]
    [InlineData("keyctl", "import ctypes; c=ctypes.CDLL(None,use_errno=True); r=c.syscall(250, 0, -3, 1); print(r if r<0 else 0, ctypes.get_errno())")]
    [InlineData("io_uring", "import ctypes; c=ctypes.CDLL(None,use_errno=True); r=c.syscall(425, 4, ctypes.create_string_buffer(120)); print(r if r<0 else 0, ctypes.get_errno())")]
    [InlineData("userfaultfd", "import ctypes; c=ctypes.CDLL(None,use_errno=True); r=c.syscall(323, 0); print(r if r<0 else 0, ctypes.get_errno())")]
    [InlineData("perf", "import ctypes; c=ctypes.CDLL(None,use_errno=True); b=(ctypes.c_uint32*32)(1,128); r=c.syscall(298, b, 0, -1, -1, 0); print(r if r<0 else 0, ctypes.get_errno())")]
    [InlineData("process_vm_readv", "import ctypes,os; c=ctypes.CDLL(None,use_errno=True); r=c.process_vm_readv(os.getpid(),None,0,None,0,0); print(r, ctypes.get_errno())")]
    [InlineData("chroot", "import ctypes; c=ctypes.CDLL(None,use_errno=True); r=c.chroot(b'/tmp'); print(r, ctypes.get_errno())")]
    [InlineData("packet socket", "import socket\ntry:\n socket.socket(17, socket.SOCK_RAW, 0); print(0, 0)\nexcept OSError as e: print(-1, e.errno)")]
    [InlineData("raw socket", "import socket\ntry:\n socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); print(0, 0)\nexcept OSError as e: print(-1, e.errno)")]
    public async Task System_calls_that_manage_the_machine_are_refused(string name, string program)
    {
        var inside = await _sandbox.PythonAsync(program);

        inside.Stdout.ShouldBe("-1 1\n", name);
        (await OutsideAsync("/usr/bin/unshare", "-m", "--propagation", "private", "/usr/bin/python3", "-c", program)).ShouldStartWith("0 ", customMessage: name);
    }

    [Fact]
    public async Task Clone3_is_said_not_to_exist_so_that_libraries_fall_back_to_clone()
    {
        const string program = "import ctypes; c=ctypes.CDLL(None,use_errno=True); r=c.syscall(435, ctypes.create_string_buffer(8), 8); print(r, ctypes.get_errno())";

        (await _sandbox.PythonAsync(program)).Stdout.ShouldBe("-1 38\n");
        (await OutsideAsync("/usr/bin/python3", "-c", program)).ShouldBe("-1 22\n");
        (await _sandbox.PythonAsync("import threading; t=threading.Thread(target=lambda: print('thread')); t.start(); t.join()")).Stdout.ShouldBe("thread\n");
    }

    [Fact]
    public async Task There_is_no_privilege_of_any_kind()
    {
        var status = (await _sandbox.RunAsync("cat /proc/self/status")).Stdout.Split('\n').Select(l => l.Split('\t', 2)).Where(p => p.Length == 2).ToDictionary(p => p[0].TrimEnd(':'), p => p[1]);

        foreach (var set in (string[])["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"])
        {
            status[set].ShouldBe("0000000000000000", set);
        }

        status["NoNewPrivs"].ShouldBe("1");
        status["Seccomp"].ShouldBe("2");
        (await _sandbox.RunAsync("mount | grep -E ' (/|/usr|/etc/.*|/tmp|/home/user) ' | grep -v nosuid | grep -v ' / '")).Stdout.ShouldBe("");
        (await _sandbox.RunAsync("cp /bin/sh /tmp/sh; chmod 4755 /tmp/sh; /tmp/sh -p -c 'id -u'")).Stdout.ShouldBe("1000\n");
    }

    [Fact]
    public async Task Its_own_cgroup_can_be_read_and_not_be_changed()
    {
        (await _sandbox.RunAsync("cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null")).Stdout
            .ShouldBe($"{256 << 20}\n", "what TestHost gives a sandbox");
        (await _sandbox.RunAsync("find /sys/fs/cgroup -writable; find /sys/fs/cgroup -name cgroup.procs | wc -l")).Stdout.Trim().ShouldMatch("^[1-9][0-9]*$");
        (await _sandbox.RunAsync("mkdir /sys/fs/cgroup/x /sys/fs/cgroup/memory/x")).ExitCode.ShouldBe(1);
    }

    [Fact]
    public async Task The_hosts_home_and_its_other_files_are_not_there()
    {
        var secret = Path.Combine(Directory.CreateTempSubdirectory("ik-secret-").FullName, "secret");
        await File.WriteAllTextAsync(secret, "hush");
        var root = Path.Combine("/root", ".ik-test-" + Guid.NewGuid().ToString("N"));
        await File.WriteAllTextAsync(root, "hush");
        try
        {
            foreach (var path in (string[])[secret, root, "/etc/shadow", "/root/.bashrc", "/proc/1/root" + secret, "/proc/1/cwd/../" + secret])
            {
                (await _sandbox.RunAsync($"cat {path} 2>&1")).Stdout.ShouldNotContain("hush", customMessage: path);
                (await _sandbox.RunAsync($"cat {path}")).ExitCode.ShouldBe(1, path);
            }

            (await OutsideAsync("/bin/cat", secret, root)).ShouldBe("hushhush");
            (await _sandbox.RunAsync("ls -A / /home /root /run /var /mnt /opt /srv 2>/dev/null | tr '\\n' ' '")).Stdout.ShouldBe(
                "/: bin dev etc home lib lib64 proc root run sbin sys tmp usr var  /home: user  /root:  /run: ik  /var: tmp ");
            (await _sandbox.RunAsync("ls -A /usr/local/etc")).Stdout.ShouldBe("");
            (await _sandbox.RunAsync("ls -A /sys /sys/fs | tr '\\n' ' '")).Stdout.ShouldBe("/sys: fs  /sys/fs: cgroup ");
        }
        finally
        {
            File.Delete(root);
            Directory.Delete(Path.GetDirectoryName(secret)!, recursive: true);
        }
    }

    [Theory]
    [InlineData("/usr")]
    [InlineData("/usr/local/lib")]
    [InlineData("/etc")]
    [InlineData("/")]
    [InlineData("/root")]
    [InlineData("/dev")]
    [InlineData("/etc/alternatives")]
    public async Task The_system_is_read_only(string directory)
    {
        var name = ".ik-test-" + Guid.NewGuid().ToString("N");

        var inside = await _sandbox.RunAsync($"echo x > {directory}/{name}");

        inside.ExitCode.ShouldBe(1);
        inside.Stderr.ShouldMatch("Read-only file system|Permission denied");
        File.Exists($"{directory}/{name}").ShouldBeFalse();
        (await OutsideAsync("/bin/sh", "-c", $"echo x > {directory}/{name} && cat {directory}/{name} && rm {directory}/{name}")).ShouldBe("x\n");
    }

    [Theory]
    [InlineData("/home/user")]
    [InlineData("/tmp")]
    [InlineData("/run/ik")]
    [InlineData("/dev/shm")]
    public async Task What_is_writable_has_a_size(string directory)
    {
        var full = await _sandbox.RunAsync($"head -c 64M /dev/zero > {directory}/big");

        full.ExitCode.ShouldBe(1);
        full.Stderr.ShouldContain("No space left on device");
        (await _sandbox.RunAsync($"rm {directory}/big && echo again > {directory}/small && cat {directory}/small")).Stdout.ShouldBe("again\n");
    }

    [Fact]
    public async Task Too_many_files_are_refused_as_well()
    {
        (await _sandbox.PythonAsync("import os\ntry:\n for i in range(10**6): open(f'/run/ik/{i}','w').close()\nexcept OSError as e: print(e.errno)")).Stdout.ShouldBe("28\n");
    }

    [Fact]
    public async Task Processes_of_the_host_are_invisible_and_out_of_reach()
    {
        using var victim = Process.Start("/bin/sleep", "1000");
        try
        {
            var marker = $"ik-{Guid.NewGuid():N}";
            (await _sandbox.RunAsync("ls /proc | grep -c '^[0-9]'")).Stdout.Trim().Length.ShouldBe(1);
            (await _sandbox.RunAsync($"ps -eo args | grep -v {marker}")).Stdout.ShouldNotContain("sleep 1000");
            (await _sandbox.RunAsync($"kill -9 {victim.Id}")).ExitCode.ShouldBe(1);
            victim.HasExited.ShouldBeFalse();
            (await OutsideAsync("/bin/sh", "-c", $"kill -0 {victim.Id} && echo reached")).ShouldBe("reached\n");
        }
        finally
        {
            victim.Kill();
            await victim.WaitForExitAsync();
        }
    }

    [Fact]
    public async Task There_is_no_network_but_its_own_loopback()
    {
        using var listener = new TcpListener(IPAddress.Any, 0);
        listener.Start();
        var port = ((IPEndPoint)listener.LocalEndpoint).Port;
        var attempt = $"import socket\nfor a in ['127.0.0.1','1.1.1.1','10.0.0.1']:\n try:\n  socket.create_connection((a,{port}),2); print(a,'connected')\n except OSError as e: print(a, e.errno)";

        (await _sandbox.PythonAsync(attempt)).Stdout.ShouldBe("127.0.0.1 111\n1.1.1.1 101\n10.0.0.1 101\n");
        (await OutsideAsync("/usr/bin/python3", "-c", attempt.Replace(",'1.1.1.1','10.0.0.1'", "", StringComparison.Ordinal))).ShouldBe("127.0.0.1 connected\n");
        (await _sandbox.RunAsync("cat /proc/net/dev | tail -n +3 | cut -d: -f1 | tr -d ' '")).Stdout.ShouldBe("lo\n");
        (await _sandbox.PythonAsync("import socket; s=socket.create_server(('127.0.0.1',0)); c=socket.create_connection(s.getsockname()); print('loop')")).Stdout.ShouldBe("loop\n");
        (await _sandbox.PythonAsync("import socket\ntry: socket.getaddrinfo('example.org', 80); print('resolved')\nexcept OSError: print('no name')")).Stdout.ShouldBe("no name\n");
    }

    [Fact]
    public async Task Abstract_sockets_of_the_host_are_out_of_reach()
    {
        var name = "ik-" + Guid.NewGuid().ToString("N");
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint("\0" + name));
        listener.Listen();
        var attempt = $"import socket\ntry: socket.socket(socket.AF_UNIX).connect('\\0{name}'); print('connected')\nexcept OSError as e: print(e.errno)";

        (await _sandbox.PythonAsync(attempt)).Stdout.ShouldBe("111\n");
        (await OutsideAsync("/usr/bin/python3", "-c", attempt)).ShouldBe("connected\n");
    }

    [Fact]
    public async Task A_fork_bomb_stops_at_the_limit_and_the_sandbox_can_still_be_killed()
    {
        await using var bomb = await _sandbox.StartAsync("bomb() { bomb | bomb & }; bomb; sleep 1000");
        var clock = Stopwatch.StartNew();
        while (PidsInside() < 60)
        {
            clock.Elapsed.ShouldBeLessThan(TimeSpan.FromSeconds(30));
            await Task.Yield();
        }

        PidsInside().ShouldBeLessThanOrEqualTo(64);
        clock.Restart();
        (await _sandbox.KillAsync()).ShouldBe(HttpStatusCode.NoContent);
        clock.Elapsed.ShouldBeLessThan(TimeSpan.FromSeconds(20));
        Traces.Processes(_sandbox.Id).ShouldBeEmpty();
        (await OutsideAsync("/bin/sh", "-c", "for i in $(seq 100); do sleep 0 & done; wait; echo fine")).ShouldBe("fine\n");
    }

    [Fact]
    public async Task A_start_that_finds_no_room_for_a_process_says_so_and_works_later()
    {
        const string fill = "import os,time\ntry:\n while True:\n  if os.fork()==0:\n   time.sleep(1000); os._exit(0)\nexcept OSError: print('filled', flush=True)\ntime.sleep(1000)";
        await using var full = await _sandbox.StreamAsync("Start", new InterpreterKernel.Protocol.Envd.StartRequest
        {
            Process = new InterpreterKernel.Protocol.Envd.ProcessConfig { Cmd = "python3", Args = { "-c", fill } },
        });
        await full.ReadUntilAsync("filled");

        await using (var refused = await _sandbox.StartAsync("true"))
        {
            refused.Error!.Code.ShouldBe(InterpreterKernel.Protocol.Connect.ConnectCode.ResourceExhausted);
        }

        using (var file = await _sandbox.SendAsync(HttpMethod.Get, "/files?path=/etc/passwd"))
        {
            file.StatusCode.ShouldBe(HttpStatusCode.InsufficientStorage);
        }

        (await _sandbox.KillAsync()).ShouldBe(HttpStatusCode.NoContent);
    }

    [Fact]
    public async Task A_memory_bomb_dies_and_the_sandbox_lives()
    {
        var result = await _sandbox.PythonAsync("x = []\nwhile True: x.append(bytearray(8 << 20))");

        result.Status.ShouldBe("signal: killed");
        (await _sandbox.RunAsync("echo alive")).Stdout.ShouldBe("alive\n");
        (await OutsideAsync("/usr/bin/python3", "-c", "x = bytearray(400 << 20); print(len(x) >> 20)")).ShouldBe("400\n");
    }

    [Fact]
    public async Task Processor_time_is_limited()
    {
        // Two busy processes on a sandbox of one processor: together about one second of time in a second.
        var result = await _sandbox.PythonAsync(
            "import os,time\nfor _ in range(2):\n if os.fork()==0:\n  t=time.time()+2\n  while time.time()<t: pass\n  os._exit(0)\nos.wait();os.wait()\nimport resource; u=resource.getrusage(resource.RUSAGE_CHILDREN); print(u.ru_utime+u.ru_stime)");

        double.Parse(result.Stdout, System.Globalization.CultureInfo.InvariantCulture).ShouldBeLessThan(3.4);
    }

    [Fact]
    public async Task Two_sandboxes_do_not_see_each_others_files_processes_or_ports()
    {
        var other = await shared.Client.CreateAsync();
        await using var server = await other.StreamAsync("Start", new InterpreterKernel.Protocol.Envd.StartRequest
        {
            Process = new InterpreterKernel.Protocol.Envd.ProcessConfig
            {
                Cmd = "python3",
                Args = { "-u", "-c", "import socket; open('/tmp/mine','w').write('x'); s=socket.create_server(('127.0.0.1',45678)); u=socket.socket(socket.AF_UNIX); u.bind('\\0mine'); u.listen(); print('up'); s.accept(); s.accept()" },
            },
        });
        await server.ReadUntilAsync("up");
        const string attempt = "import socket,os\nprint(os.path.exists('/tmp/mine'))\nfor f,a in [(socket.AF_INET,('127.0.0.1',45678)),(socket.AF_UNIX,'\\0mine')]:\n try: socket.socket(f).connect(a); print('connected')\n except OSError as e: print(e.errno)";

        (await _sandbox.PythonAsync(attempt)).Stdout.ShouldBe("False\n111\n111\n");
        (await _sandbox.RunAsync("ps -eo args")).Stdout.ShouldNotContain("45678");
        (await other.PythonAsync(attempt)).Stdout.ShouldBe("True\nconnected\nconnected\n");
        Owner(_sandbox).ShouldNotBe(Owner(other));
        await other.KillAsync();
    }

    [Theory]
    [InlineData("kill -9 1; kill -STOP 1; kill -TERM 1; kill -INT 1; kill -CHLD 1; kill -USR1 1; kill -SEGV 1; sleep 0.1")]
    [InlineData("cat /proc/1/environ /proc/1/maps; : > /proc/1/mem; ls /proc/1/fd /proc/1/root; : > /proc/1/oom_score_adj")]
    public async Task The_agent_can_be_neither_harmed_nor_read(string attack)
    {
        var result = await _sandbox.RunAsync(attack + " 2>&1; echo done");

        result.Stdout.ShouldEndWith("done\n");
        result.Stdout.ShouldNotContain("agent");
        (await _sandbox.RunAsync("echo alive")).Stdout.ShouldBe("alive\n");
    }

    [Fact]
    public async Task A_program_inherits_no_descriptor_and_no_ignored_signal()
    {
        (await _sandbox.PythonAsync("import os; print(sorted(int(f) for f in os.listdir('/proc/self/fd'))[:3], len(os.listdir('/proc/self/fd')))")).Stdout.ShouldBe("[0, 1, 2] 4\n");
        (await _sandbox.RunAsync("grep -E 'SigIgn|SigBlk' /proc/self/status | cut -f2")).Stdout.ShouldBe("0000000000000000\n0000000000000000\n");
        (await _sandbox.RunAsync("ulimit -c; echo hi > /dev/stdout; echo x > /dev/null; head -c 1 /dev/urandom | wc -c")).Stdout.ShouldBe("0\nhi\n1\n");
    }

    private static string Owner(TestSandbox sandbox) =>
        File.ReadLines(Traces.Processes(sandbox.Id).First().Split(' ')[0] + "/status").First(l => l.StartsWith("Uid:", StringComparison.Ordinal));

    private static async Task<string> OutsideAsync(string command, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(command, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        var output = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        return output;
    }

    private int PidsInside() =>
        File.ReadLines(Traces.Cgroups(_sandbox.Id).First(c => c.Contains("/pids/", StringComparison.Ordinal)) + "/cgroup.procs").Count();
}
