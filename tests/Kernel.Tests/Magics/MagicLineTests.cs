using InterpreterKernel.Kernel.Magics;

namespace InterpreterKernel.Kernel.Tests.Magics;

public sealed class MagicLineTests
{
    [Fact]
    public void Every_line_of_the_list_is_understood()
    {
        MagicLine.Parse("").ShouldBe(new MagicLine.Help());
        MagicLine.Parse("info").ShouldBe(new MagicLine.Info());
        MagicLine.Parse("put data").ShouldBe(new MagicLine.Put("data", null));
        MagicLine.Parse("put 'my data' \"/tmp/x y\"").ShouldBe(new MagicLine.Put("my data", "/tmp/x y"));
        MagicLine.Parse("put C:\\data x").ShouldBe(new MagicLine.Put("C:\\data", "x"));
        MagicLine.Parse("get a b").ShouldBe(new MagicLine.Get("a", "b"));
        MagicLine.Parse("timeout").ShouldBe(new MagicLine.Timeout(false, null));
        MagicLine.Parse("timeout 5m").ShouldBe(new MagicLine.Timeout(true, TimeSpan.FromMinutes(5)));
        MagicLine.Parse("timeout none").ShouldBe(new MagicLine.Timeout(true, null));
        MagicLine.Parse("restart --fresh").ShouldBe(new MagicLine.Restart());
    }

    [Theory]
    [InlineData("frobnicate", "frobnicate")]
    [InlineData("put", "LOCAL")]
    [InlineData("put a b c", "LOCAL")]
    [InlineData("get", "REMOTE")]
    [InlineData("put ''", "empty")]
    [InlineData("put a\0b", "NUL")]
    [InlineData("put 'a", "not closed")]
    [InlineData("timeout soon", "'soon'")]
    [InlineData("restart", "--fresh")]
    [InlineData("info 2", "info")]
    public void What_is_wrong_is_named_with_the_list_of_what_is_right(string text, string named)
    {
        var fault = Should.Throw<MagicException>(() => MagicLine.Parse(text));
        fault.Name.ShouldBe("SandboxMagicError");
        fault.Message.ShouldContain(named);
        fault.Message.ShouldContain("%sandbox put LOCAL [REMOTE]");
    }
}
