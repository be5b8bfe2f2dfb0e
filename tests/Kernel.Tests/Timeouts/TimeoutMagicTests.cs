using System.Text;
using System.Text.Json;
using InterpreterKernel.Kernel.Timeouts;

namespace InterpreterKernel.Kernel.Tests.Timeouts;

public sealed class TimeoutMagicTests
{
    [Theory]
    [InlineData("%%timeout 10s\nprint(1)", "python", "# %%timeout 10s\nprint(1)")]
    [InlineData("%%timeout 10s\nprint(1)", "R", "\nprint(1)")]
    [InlineData("%%timeout 10s\nprint(1)", null, "\nprint(1)")]
    [InlineData("%%timeout 10s\n%%bash\nls", "python", "\n%%bash\nls")]
    [InlineData("%%timeout 10s\n\n %%bash\nls", "python", "\n\n %%bash\nls")]
    [InlineData("%%timeout 10s\r\nx", "R", "\r\nx")]
    [InlineData("%%timeout 10s", "R", "")]
    [InlineData("%%timeout\t1.5m\nx", "R", "\nx")]
    [InlineData("%%timeout none\nx", "R", "\nx")]
    public void The_line_is_blanked_so_that_line_numbers_hold(string code, string? language, string expected)
    {
        var request = Cell(code);
        var magic = TimeoutMagic.Find(request).ShouldNotBeNull();
        var seen = Code(magic.Blank(request, language).Content);
        seen.ShouldBe(expected);
        seen.Split('\n').Length.ShouldBe(code.Split('\n').Length);
    }

    [Theory]
    [InlineData("print(1)")]
    [InlineData("\n%%timeout 10s\nx")]
    [InlineData(" %%timeout 10s\nx")]
    [InlineData("%%timeouts 10s\nx")]
    [InlineData("%%timeit f()")]
    [InlineData("x = '%%timeout 10s'")]
    public void Anything_else_is_none_of_ours(string code) => TimeoutMagic.Find(Cell(code)).ShouldBeNull();

    [Theory]
    [InlineData("%%timeout soon\nx")]
    [InlineData("%%timeout -1\nx")]
    [InlineData("%%timeout\nx")]
    [InlineData("%%timeout 10s \\ 5\nx")]
    public void A_magic_that_says_no_duration_goes_to_the_kernel_as_it_is(string code)
    {
        var request = Cell(code);
        var magic = TimeoutMagic.Find(request).ShouldNotBeNull();
        magic.Limit.ShouldBeNull();
        magic.Blank(request, "python").ShouldBeSameAs(request);
    }

    [Fact]
    public void All_other_bytes_stay_as_they_came()
    {
        var request = Messages.Request("execute_request", "a", """{ "silent" : false,"x":{"code":"%%timeout 1s\n"}, "code" : "%%timeout 2s\nprint('\u00e9\n\\n')"  , "z":[1, 2.50]}""");
        var seen = TimeoutMagic.Find(request)!.Blank(request, "python");
        Encoding.UTF8.GetString(seen.Content.Span).ShouldBe("""{ "silent" : false,"x":{"code":"%%timeout 1s\n"}, "code" : "# %%timeout 2s\nprint('\u00e9\n\\n')"  , "z":[1, 2.50]}""");
        seen.Header.ShouldBe(request.Header);
        seen.Metadata.ShouldBe(request.Metadata);
        seen.Identities.ShouldBe(request.Identities);
    }

    [Theory]
    [InlineData("%%timeout 1s")]
    [InlineData("{")]
    [InlineData("[\"%%timeout 1s\"]")]
    [InlineData("""{"code":["%%timeout 1s"]}""")]
    [InlineData("""{"code":"%%timeout 1s""")]
    public void Nonsense_has_no_magic(string content) => TimeoutMagic.Find(Messages.Request("execute_request", "a", content)).ShouldBeNull();

    private static InterpreterKernel.Protocol.Jupyter.JupyterMessage Cell(string code) =>
        Messages.Request("execute_request", "a", JsonSerializer.Serialize(new { code }));

    private static string Code(ReadOnlyMemory<byte> content)
    {
        using var document = JsonDocument.Parse(content);
        return document.RootElement.GetProperty("code").GetString()!;
    }
}
