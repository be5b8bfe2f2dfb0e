using System.IO.Compression;
using System.Net;
using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Text;

namespace InterpreterKernel.SandboxHost.Tests;

[Collection(SharedHostCollection.Name)]
public sealed class FileTests(SharedHost shared) : IAsyncLifetime
{
    private TestSandbox _sandbox = null!;

    public async Task InitializeAsync() => _sandbox = await shared.Client.CreateAsync();

    public async Task DisposeAsync() => await _sandbox.KillAsync();

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(262_144)]
    [InlineData(5_000_003)]
    public async Task Bytes_come_back_as_they_went_in(int length)
    {
        var content = RandomNumberGenerator.GetBytes(length);

        using (var written = await WriteAsync("/home/user/new/sub/file.bin", content))
        {
            written.StatusCode.ShouldBe(HttpStatusCode.OK);
            (await written.Content.ReadAsStringAsync()).ShouldBe("""[{"name":"file.bin","path":"/home/user/new/sub/file.bin","type":"file"}]""");
        }

        using var read = await ReadAsync("new/sub/file.bin");
        read.StatusCode.ShouldBe(HttpStatusCode.OK);
        read.Content.Headers.ContentLength.ShouldBe(length);
        (await read.Content.ReadAsByteArrayAsync()).ShouldBe(content);
        (await _sandbox.RunAsync("stat -c '%a %U %s' new new/sub new/sub/file.bin")).Stdout.ShouldBe($"755 user 60\n755 user 60\n644 user {length}\n");
    }

    [Fact]
    public async Task Several_files_go_up_in_one_multipart_request()
    {
        using var form = new MultipartFormDataContent
        {
            { new StringContent("one"), "file", "a.txt" },
            { new StringContent("ignored"), "other", "b.txt" },
            { new ByteArrayContent(new byte[300_000]), "file", "/tmp/deep/c d.bin" },
        };
        using var response = await _sandbox.SendAsync(HttpMethod.Post, "/files", form);

        (await response.Content.ReadAsStringAsync()).ShouldBe("""[{"name":"a.txt","path":"/home/user/a.txt","type":"file"},{"name":"c d.bin","path":"/tmp/deep/c d.bin","type":"file"}]""");
        (await _sandbox.RunAsync("cat a.txt; stat -c %s '/tmp/deep/c d.bin'; ls b.txt")).Stdout.ShouldBe("one300000\n");
    }

    [Fact]
    public async Task A_gzipped_upload_is_unpacked()
    {
        using var packed = new MemoryStream();
        await using (var gzip = new GZipStream(packed, CompressionLevel.Fastest, leaveOpen: true))
        {
            await gzip.WriteAsync("hello"u8.ToArray());
        }

        var content = new ByteArrayContent(packed.ToArray());
        content.Headers.ContentType = new MediaTypeHeaderValue("application/octet-stream");
        content.Headers.ContentEncoding.Add("gzip");
        using var response = await _sandbox.SendAsync(HttpMethod.Post, "/files?path=/tmp/z", content);

        response.StatusCode.ShouldBe(HttpStatusCode.OK);
        (await _sandbox.RunAsync("cat /tmp/z")).Stdout.ShouldBe("hello");
    }

    [Fact]
    public async Task A_cut_off_upload_leaves_the_old_content_and_nothing_else()
    {
        await WriteAsync("/home/user/f", "old"u8.ToArray());
        using var cancel = new CancellationTokenSource();
        var body = new System.IO.Pipelines.Pipe();
        var request = _sandbox.Request(HttpMethod.Post, "/files?path=/home/user/f", new StreamContent(body.Reader.AsStream()));
        request.Content!.Headers.ContentType = new MediaTypeHeaderValue("application/octet-stream");
        var upload = shared.Client.Http.SendAsync(request, cancel.Token);
        await body.Writer.WriteAsync(new byte[1_000_000]);
        await UntilAsync("test $(ls -A | grep -c '^.ik-') = 1");

        await cancel.CancelAsync();
        await Should.ThrowAsync<OperationCanceledException>(async () => (await upload).Dispose());

        await UntilAsync("test $(ls -A | grep -c '^.ik-') = 0");
        (await _sandbox.RunAsync("cat f")).Stdout.ShouldBe("old");
    }

    [Fact]
    public async Task An_upload_over_a_file_keeps_its_mode_and_follows_its_link()
    {
        await _sandbox.RunAsync("echo old > f; chmod 750 f; ln -s f l");

        (await WriteAsync("/home/user/l", "new"u8.ToArray())).StatusCode.ShouldBe(HttpStatusCode.OK);

        (await _sandbox.RunAsync("cat f; stat -c %a f; readlink l")).Stdout.ShouldBe("new750\nf\n");
    }

    [Fact]
    public async Task A_full_disk_is_answered_507_and_leaves_the_old_content()
    {
        await WriteAsync("/home/user/f", "old"u8.ToArray());

        using var response = await WriteAsync("/home/user/f", new byte[20 << 20]);

        response.StatusCode.ShouldBe(HttpStatusCode.InsufficientStorage);
        (await HostClient.JsonAsync(response)).GetProperty("code").GetInt32().ShouldBe(507);
        (await _sandbox.RunAsync("cat f; ls -A | grep -c '^.ik-'")).Stdout.ShouldBe("old0\n");
    }

    [Theory]
    [InlineData("/home/user/none", 404)]
    [InlineData("/home/user", 400)]
    [InlineData("/dev/zero", 400)]
    [InlineData("/dev/null", 400)]
    [InlineData("/home/user/fifo", 400)]
    [InlineData("/home/user/socket", 400)]
    [InlineData("/home/user/loop", 400)]
    [InlineData("/home/user/f/below", 400)]
    [InlineData("/home/user/unreadable", 403)]
    [InlineData("", 400)]
    [InlineData("/tmp/", 400)]
    public async Task What_is_no_readable_file_is_refused(string path, int status)
    {
        await _sandbox.PythonAsync("import os,socket; os.mkfifo('fifo'); os.symlink('loop','loop'); open('f','w').close(); open('unreadable','w').close(); os.chmod('unreadable',0); s=socket.socket(socket.AF_UNIX); s.bind('socket')");

        using var response = await ReadAsync(path);

        ((int)response.StatusCode).ShouldBe(status);
        (await HostClient.JsonAsync(response)).GetProperty("code").GetInt32().ShouldBe(status);
    }

    [Theory]
    [InlineData("/usr/bin/ik-test", 403)]
    [InlineData("/etc/passwd", 403)]
    [InlineData("/home/user/fifo", 400)]
    [InlineData("/dev/null", 400)]
    [InlineData("/home/user", 400)]
    [InlineData("/nonesuch/file", 403)]
    [InlineData("", 400)]
    public async Task What_can_not_be_written_is_refused(string path, int status)
    {
        await _sandbox.RunAsync("mkfifo fifo");

        using var response = await WriteAsync(path, "x"u8.ToArray());

        ((int)response.StatusCode).ShouldBe(status);
        File.Exists("/usr/bin/ik-test").ShouldBeFalse();
    }

    /// <summary>The paths name things that exist outside; inside they must lead nowhere, however they get there.</summary>
    [Fact]
    public async Task No_path_leads_out_of_the_sandbox()
    {
        var directory = Directory.CreateTempSubdirectory("ik-out-");
        var secret = Path.Combine(directory.FullName, "secret");
        await File.WriteAllTextAsync(secret, "hush");
        await _sandbox.RunAsync($"ln -s {secret} link; ln -s {directory.FullName} dir; ln -s / root; ln -s ../../../../../.. up; ln -s /proc/1/root proc1; ln -s /proc/self/root self");
        try
        {
            foreach (var path in (string[])
                [secret, "/../../.." + secret, "link", "dir/secret", "root" + secret, "up" + secret, "proc1" + secret, "self" + secret, "/proc/1/root" + secret, "/proc/1/cwd/.." + secret])
            {
                using var read = await ReadAsync(path);
                (await read.Content.ReadAsStringAsync()).ShouldNotContain("hush", customMessage: path);
                (await WriteAsync(path, "changed"u8.ToArray())).Dispose();
                (await File.ReadAllTextAsync(secret)).ShouldBe("hush", path);
            }

            directory.GetFileSystemInfos().Length.ShouldBe(1);
        }
        finally
        {
            directory.Delete(recursive: true);
        }
    }

    [Fact]
    public async Task A_path_that_changes_under_the_host_leads_out_as_little()
    {
        var directory = Directory.CreateTempSubdirectory("ik-race-");
        await File.WriteAllTextAsync(Path.Combine(directory.FullName, "f"), "hush");
        await _sandbox.RunAsync("mkdir good; echo fine > good/f");
        await using var racer = await _sandbox.StartAsync($"while :; do ln -sfn {directory.FullName} d; ln -sfn good d; done");
        try
        {
            for (var i = 0; i < 60; i++)
            {
                using var read = await ReadAsync("d/f");
                (await read.Content.ReadAsStringAsync()).ShouldNotContain("hush");
                using var written = await WriteAsync("d/f", "fine"u8.ToArray());
            }

            (await File.ReadAllTextAsync(Path.Combine(directory.FullName, "f"))).ShouldBe("hush");
        }
        finally
        {
            directory.Delete(recursive: true);
        }
    }

    [Fact]
    public async Task A_file_cut_short_while_it_is_read_breaks_the_answer_off()
    {
        await WriteAsync("/home/user/f", new byte[8 << 20]);
        using var response = await _sandbox.SendAsync(HttpMethod.Get, "/files?path=f");
        var body = await response.Content.ReadAsStreamAsync();
        await body.ReadExactlyAsync(new byte[1000]);

        await _sandbox.RunAsync("truncate -s 100 f");

        await Should.ThrowAsync<IOException>(async () => await body.CopyToAsync(Stream.Null));
    }

    [Fact]
    public async Task A_user_that_is_not_there_is_refused_and_names_are_encoded()
    {
        using (var response = await _sandbox.SendAsync(HttpMethod.Get, "/files?path=/etc/passwd&username=root"))
        {
            response.StatusCode.ShouldBe(HttpStatusCode.Unauthorized);
        }

        await WriteAsync("/tmp/ä \"q\"\n.txt", "x"u8.ToArray());
        using var read = await ReadAsync("/tmp/ä \"q\"\n.txt");
        read.StatusCode.ShouldBe(HttpStatusCode.OK);
        read.Content.Headers.ContentType!.MediaType.ShouldBe("text/plain");
        read.Content.Headers.ContentDisposition!.DispositionType.ShouldBe("inline");
    }

    [Theory]
    [InlineData("multipart/form-data", "x")]
    [InlineData("multipart/form-data; boundary=", "x")]
    [InlineData("multipart/form-data; boundary=abc", "no boundary here")]
    [InlineData("multipart/form-data; boundary=abc", "--abc\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nx\r\n--abc--\r\n")]
    [InlineData("multipart/form-data; boundary=abc", "--abc\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nno end")]
    public async Task A_damaged_multipart_body_is_the_callers_fault(string type, string body)
    {
        var content = new ByteArrayContent(Encoding.UTF8.GetBytes(body));
        content.Headers.TryAddWithoutValidation("Content-Type", type);
        using var response = await _sandbox.SendAsync(HttpMethod.Post, "/files", content);

        ((int)response.StatusCode).ShouldBe(400);
        (await _sandbox.RunAsync("ls -A")).Stdout.ShouldNotContain("f\n");
    }

    private Task<HttpResponseMessage> ReadAsync(string path) => _sandbox.SendAsync(HttpMethod.Get, "/files?path=" + Uri.EscapeDataString(path));

    private Task<HttpResponseMessage> WriteAsync(string path, byte[] bytes)
    {
        var content = new ByteArrayContent(bytes);
        content.Headers.ContentType = new MediaTypeHeaderValue("application/octet-stream");
        return _sandbox.SendAsync(HttpMethod.Post, "/files?path=" + Uri.EscapeDataString(path), content);
    }

    private async Task UntilAsync(string condition) =>
        (await _sandbox.RunAsync($"for i in $(seq 500); do {condition} && exit 0; sleep 0.02; done; exit 1")).ExitCode.ShouldBe(0, condition);
}
