using System.Text.Json;
using InterpreterKernel.Kernel.Magics;
using InterpreterKernel.Kernel.Timeouts;
using InterpreterKernel.Protocol.Jupyter;

namespace InterpreterKernel.Kernel.Tests.Magics;

public sealed class MagicHeaderTests
{
    [Theory]
    [InlineData("%sandbox", "")]
    [InlineData("%sandbox info", "info")]
    [InlineData("%sandbox\tput  'a b'  c ", "put  'a b'  c")]
    [InlineData("\n  \n%sandbox info\n1", "info")]
    [InlineData("%sandbox put é\\n.txt\n1", "put é\\n.txt")]
    public void A_line_at_the_top_is_found(string code, string command) => MagicHeader.Find(Cell(code))!.Commands.ShouldBe([command]);

    [Theory]
    [InlineData("")]
    [InlineData("1\n%sandbox info")]
    [InlineData("%sandboxes")]
    [InlineData("%%sandbox")]
    [InlineData(" %sandbox")]
    [InlineData("# %sandbox info")]
    [InlineData("%%timeout 3s\nprint('%sandbox info')")]
    public void Anything_else_is_the_kernels(string code) => MagicHeader.Find(Cell(code)).ShouldBeNull();

    [Theory]
    [InlineData("[]")]
    [InlineData("""{"code":["%sandbox"]}""")]
    [InlineData("""{"code":"%sandbox""")]
    [InlineData("\"%sandbox\"")]
    public void Nonsense_is_the_kernels_to_refuse(string content) => MagicHeader.Find(Messages.Request("execute_request", "a", content)).ShouldBeNull();

    [Theory]
    [InlineData("%sandbox info\n%sandbox put a\nx = 1\n%sandbox", "# %sandbox info\n# %sandbox put a\nx = 1\n%sandbox")]
    [InlineData("%sandbox info", "# %sandbox info")]
    [InlineData("%sandbox info\r\n1", "# %sandbox info\r\n1")]
    [InlineData("%sandbox info\n\n%sandbox\n1", "# %sandbox info\n\n# %sandbox\n1")]
    [InlineData("%sandbox info\n%%bash\nls", "\n%%bash\nls")]
    [InlineData("%sandbox info\n\n%%bash\nls", "\n\n%%bash\nls")]
    [InlineData("%%timeout 3s\n%sandbox info\n1", "%%timeout 3s\n# %sandbox info\n1")]
    [InlineData("%sandbox info\n%%timeout 3s\n1", "%%timeout 3s\n# %sandbox info\n1")]
    [InlineData("%sandbox info\n%%timeout 3s\n%%bash\nls", "%%timeout 3s\n\n%%bash\nls")]
    [InlineData("%sandbox a \"q\\\" é\n1", "# %sandbox a \"q\\\" é\n1")]
    public void The_kernel_gets_the_rest_and_line_numbers_hold(string code, string expected) => Blanked(code, "python").ShouldBe(expected);

    [Theory]
    [InlineData("%sandbox info\n%sandbox put a\nx <- 1", "\n\nx <- 1")]
    [InlineData("%sandbox info", "")]
    public void In_other_languages_the_lines_are_empty(string code, string expected) => Blanked(code, "R").ShouldBe(expected);

    [Fact]
    public void What_is_left_still_has_its_own_timeout_and_cell_magic()
    {
        var request = Cell("%sandbox info\n%%timeout 3s\n%%bash\nls");
        var rest = MagicHeader.Find(request)!.Blank(request, "python");
        var timeout = TimeoutMagic.Find(rest)!;
        timeout.Limit.ShouldBe(TimeSpan.FromSeconds(3));
        Code(timeout.Blank(rest, "python")).ShouldBe("\n\n%%bash\nls");
    }

    [Fact]
    public void Everything_else_in_the_request_is_what_the_client_sent()
    {
        var request = Messages.Request("execute_request", "a", """{ "silent" : false, "code":"%sandbox info\n1" , "x\u00e9":[1.0]}""");
        var rest = MagicHeader.Find(request)!.Blank(request, "python");
        System.Text.Encoding.UTF8.GetString(rest.Content.Span).ShouldBe("""{ "silent" : false, "code":"# %sandbox info\n1" , "x\u00e9":[1.0]}""");
        rest.MessageId.ShouldBe("a");
    }

    [Fact]
    public void A_cell_of_nothing_but_such_lines_has_an_end()
    {
        var header = MagicHeader.Find(Cell(string.Join('\n', Enumerable.Repeat("%sandbox info", 1000))))!;
        header.Commands.Count.ShouldBe(64);
    }

    private static string Blanked(string code, string language)
    {
        var request = Cell(code);
        return Code(MagicHeader.Find(request)!.Blank(request, language));
    }

    private static string Code(JupyterMessage request) => JsonDocument.Parse(request.Content).RootElement.GetProperty("code").GetString()!;

    private static JupyterMessage Cell(string code) => Messages.Request("execute_request", "a", JsonSerializer.Serialize(new { code, silent = false }));
}
