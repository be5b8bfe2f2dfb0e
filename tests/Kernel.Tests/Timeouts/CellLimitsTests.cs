using System.Text;
using System.Text.Json;
using InterpreterKernel.Kernel.Configuration;
using InterpreterKernel.Kernel.Timeouts;
using InterpreterKernel.Protocol.Jupyter;

namespace InterpreterKernel.Kernel.Tests.Timeouts;

public sealed class CellLimitsTests
{
    [Theory]
    [InlineData("{}", null, null)]
    [InlineData("{}", 60, 60)]
    [InlineData("""{"timeout":30}""", 60, 30)]
    [InlineData("""{"timeout":90}""", 60, 60)]
    [InlineData("""{"timeout":90}""", null, 90)]
    [InlineData("""{"timeout":"1m"}""", null, 60)]
    [InlineData("""{"interpreter_kernel":{"timeout":"20s"}}""", 60, 20)]
    [InlineData("""{"timeout":10,"interpreter_kernel":{"timeout":"20s"}}""", 60, 10)]
    [InlineData("""{"timeout":-1}""", 60, 60)]
    [InlineData("""{"timeout":null}""", 60, 60)]
    [InlineData("""{"timeout":{"of":"somebody else"}}""", 60, 60)]
    [InlineData("""{"timeout":1e300}""", 60, 60)]
    [InlineData("""{"interpreter_kernel":"timeout"}""", 60, 60)]
    [InlineData("""["timeout"]""", 60, 60)]
    [InlineData("""{"timeout":""", 60, 60)]
    public void Metadata_can_only_narrow(string metadata, int? configured, int? expected)
    {
        var limits = CellLimits.Read(Cell(metadata), null, Configured(configured));
        limits.Cell?.Time.ShouldBe(Seconds(expected)!.Value);
        limits.Cell.HasValue.ShouldBe(expected.HasValue);
        limits.Notice.ShouldBeNull();
    }

    [Theory]
    [InlineData("%%timeout 10s", 10)]
    [InlineData("%%timeout 5m", 300)]
    [InlineData("%%timeout none", null)]
    public void The_magic_is_the_users_word_and_replaces_what_was_configured(string code, int? expected)
    {
        var limits = Read(code, """{"timeout":30}""", 60);
        (limits.Cell?.Time).ShouldBe(Seconds(expected));
        limits.Notice.ShouldBeNull();
    }

    [Fact]
    public void A_magic_that_is_no_duration_is_told_and_changes_nothing()
    {
        var limits = Read("%%timeout soon", "{}", 60);
        limits.Cell.ShouldBe(new Limit(TimeSpan.FromSeconds(60), "cellTimeout"));
        limits.Notice.ShouldNotBeNull().ShouldContain("'soon'");
    }

    [Fact]
    public void Our_own_key_with_a_wrong_value_is_told()
    {
        CellLimits.Read(Cell("""{"interpreter_kernel":{"timeout":"soon"}}"""), null, null).Notice.ShouldNotBeNull().ShouldContain("soon");
        CellLimits.Read(Cell("""{"interpreter_kernel":{"notebookTimeout":[]}}"""), null, null).Notice.ShouldNotBeNull().ShouldContain("notebookTimeout");
    }

    [Fact]
    public void The_notebooks_limit_can_come_with_a_cell() =>
        CellLimits.Read(Cell("""{"interpreter_kernel":{"notebookTimeout":"10m"}}"""), null, null).Notebook!.Value.Time.ShouldBe(TimeSpan.FromMinutes(10));

    private static CellLimits Read(string code, string metadata, int? configured)
    {
        var request = Cell(metadata, code);
        return CellLimits.Read(request, TimeoutMagic.Find(request), Configured(configured));
    }

    private static TimeSpan? Seconds(int? seconds) => seconds is { } s ? TimeSpan.FromSeconds(s) : null;

    private static JupyterMessage Cell(string metadata, string code = "") => new()
    {
        Header = Messages.Request("execute_request", "a").Header,
        Metadata = Encoding.UTF8.GetBytes(metadata),
        Content = JsonSerializer.SerializeToUtf8Bytes(new { code }),
    };

    private static Limit? Configured(int? seconds) => Seconds(seconds) is { } time ? new Limit(time, SettingKeys.CellTimeout) : null;
}
