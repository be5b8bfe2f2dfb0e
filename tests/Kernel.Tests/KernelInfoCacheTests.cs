using System.Text.Json;
using InterpreterKernel.Kernel.Lifecycle;

namespace InterpreterKernel.Kernel.Tests;

public sealed class KernelInfoCacheTests : IDisposable
{
    private readonly string _directory = Path.Combine(Path.GetTempPath(), $"ik-info-{Guid.NewGuid():n}");
    private readonly KernelLog _log = new(TextWriter.Null, verbose: false);

    public void Dispose()
    {
        if (Directory.Exists(_directory))
        {
            Directory.Delete(_directory, recursive: true);
        }
    }

    [Fact]
    public void What_was_learned_is_there_at_the_next_start_byte_for_byte()
    {
        Open("python3").Learn(Messages.KernelInfo);
        Open("python3").Content!.Value.ToArray().ShouldBe(Messages.KernelInfo);
    }

    [Fact]
    public void Another_kernel_or_template_has_its_own()
    {
        Open("python3").Learn(Messages.KernelInfo);
        Open("ir").Content.ShouldBeNull();
    }

    [Theory]
    [InlineData("")]
    [InlineData("{")]
    [InlineData("[]")]
    [InlineData("""{"status":"error","protocol_version":"5.3","language_info":{}}""")]
    [InlineData("""{"status":"ok","protocol_version":"5.3","language_info":"python"}""")]
    public void What_is_no_kernel_info_is_neither_kept_nor_believed(string content)
    {
        var cache = Open("python3");
        cache.Learn(System.Text.Encoding.UTF8.GetBytes(content));
        cache.Content.ShouldBeNull();
        cache.Learn(Messages.KernelInfo);
        File.WriteAllText(Directory.GetFiles(_directory).ShouldHaveSingleItem(), content);
        Open("python3").Content.ShouldBeNull();
    }

    [Fact]
    public void Without_a_place_to_keep_it_the_kernel_works_all_the_same()
    {
        var cache = KernelInfoCache.Open("/proc/no/such/place", ["x"], _log);
        cache.Learn(Messages.KernelInfo);
        cache.Content.ShouldNotBeNull();
    }

    [Fact]
    public void The_placeholder_is_a_kernel_info_that_carries_the_reason()
    {
        using var reply = JsonDocument.Parse(KernelInfoCache.Placeholder("runc is missing"));
        reply.RootElement.GetProperty("banner").GetString().ShouldBe("runc is missing");
        reply.RootElement.GetProperty("status").GetString().ShouldBe("ok");
        reply.RootElement.GetProperty("language_info").GetProperty("name").GetString().ShouldBe("python");
    }

    private KernelInfoCache Open(string kernel) => KernelInfoCache.Open(_directory, ["embedded", kernel, null], _log);
}
