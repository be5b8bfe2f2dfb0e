using InterpreterKernel.SandboxHost.Rest;

namespace InterpreterKernel.SandboxHost.Tests;

public sealed class ResourceTagTests
{
    private static readonly SandboxResources s_own = new();

    [Fact]
    public void Without_a_tag_the_hosts_sizes_are_used() => ResourceTag.Read(null, s_own).ShouldBe(s_own);

    [Fact]
    public void What_is_named_is_used_and_the_rest_is_the_hosts() =>
        ResourceTag.Read("memory=104857600 disk=4194304 cpus=0.5 pids=20", s_own)
            .ShouldBe(s_own with { MemoryBytes = 100 << 20, DiskBytes = 4 << 20, TmpBytes = 2 << 20, Cpus = 0.5, Pids = 20 });

    [Theory]
    [InlineData("memory")]
    [InlineData("memory=")]
    [InlineData("memory=-1")]
    [InlineData("memory=1")]
    [InlineData("memory=99999999999999999999")]
    [InlineData("cpus=NaN")]
    [InlineData("cpus=1e9")]
    [InlineData("cpus=0")]
    [InlineData("pids=4294967297")]
    [InlineData("pids=2")]
    [InlineData("network=1")]
    [InlineData("disk=0x10")]
    public void What_is_no_size_is_refused(string tag) => ResourceTag.Read(tag, s_own).ShouldBeNull();
}
