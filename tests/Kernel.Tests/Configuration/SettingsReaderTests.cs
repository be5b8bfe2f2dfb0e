using InterpreterKernel.Kernel.Configuration;

namespace InterpreterKernel.Kernel.Tests.Configuration;

public sealed class SettingsReaderTests : IDisposable
{
    private readonly string _file = Path.Combine(Path.GetTempPath(), $"ik-settings-{Guid.NewGuid():n}.json");

    public void Dispose() => File.Delete(_file);

    [Fact]
    public void Nothing_set_gives_the_defaults()
    {
        Read([], []).ShouldBe(new Settings());
    }

    [Fact]
    public void Later_sources_win()
    {
        File.WriteAllText(_file, """{ "limit": 3, "kernel": "ir", "lifetime": "90s" }""");
        var settings = Read(new() { ["kernel"] = "octave" }, new() { ["INTERPRETER_KERNEL_LIMIT"] = "4", ["INTERPRETER_KERNEL_KERNEL"] = "bash" });
        settings.Limit.ShouldBe(4);
        settings.Kernel.ShouldBe("octave");
        settings.Lifetime.ShouldBe(TimeSpan.FromSeconds(90));
    }

    [Fact]
    public void All_faults_are_told_together_with_key_place_and_what_would_be_right()
    {
        File.WriteAllText(_file, """{ "limit": 0, "colour": "red", "memory": {} }""");
        SettingsReader.Read(
            new Dictionary<string, string> { ["lifetime"] = "1s" }, v => v == "INTERPRETER_KERNEL_CPUS" ? "many" : null, _file, out var faults);
        faults.Count.ShouldBe(5);
        faults.ShouldContain(f => f.Contains("limit") && f.Contains("at least 1") && f.Contains(_file));
        faults.ShouldContain(f => f.Contains("'colour'") && f.Contains("requestTimeout"));
        faults.ShouldContain(f => f.Contains("memory") && f.Contains("512M"));
        faults.ShouldContain(f => f.Contains("INTERPRETER_KERNEL_CPUS") && f.Contains("0.5"));
        faults.ShouldContain(f => f.Contains("--lifetime") && f.Contains("15s"));
    }

    [Theory]
    [InlineData("{")]
    [InlineData("[]")]
    [InlineData("")]
    public void A_file_that_is_no_object_is_a_fault_not_a_crash(string content)
    {
        File.WriteAllText(_file, content);
        SettingsReader.Read(new Dictionary<string, string>(), _ => null, _file, out var faults);
        faults.ShouldHaveSingleItem().ShouldContain(_file);
    }

    [Fact]
    public void Limits_can_be_set_and_taken_away_again()
    {
        File.WriteAllText(_file, """{ "cellTimeout": 30, "notebookTimeout": "1h", "timeoutGraces": ["1s", "500ms", 10], "continueAfterTimeout": true }""");
        var settings = Read(new() { ["notebookTimeout"] = "none" }, new() { ["INTERPRETER_KERNEL_START_TIMEOUT"] = "2m" });
        settings.CellTimeout.ShouldBe(TimeSpan.FromSeconds(30));
        settings.NotebookTimeout.ShouldBeNull();
        settings.StartTimeout.ShouldBe(TimeSpan.FromMinutes(2));
        settings.TimeoutGraces.ShouldBe(new(TimeSpan.FromSeconds(1), TimeSpan.FromMilliseconds(500), TimeSpan.FromSeconds(10)));
        settings.ContinueAfterTimeout.ShouldBeTrue();
    }

    [Theory]
    [InlineData("cellTimeout", "soon")]
    [InlineData("cellTimeout", "0")]
    [InlineData("startTimeout", "none")]
    [InlineData("timeoutGraces", "2s,2s")]
    [InlineData("timeoutGraces", "2s,2s,soon")]
    [InlineData("continueAfterTimeout", "perhaps")]
    public void A_limit_that_is_none_is_a_fault(string key, string text)
    {
        SettingsReader.Read(new Dictionary<string, string> { [key] = text }, _ => null, null, out var faults);
        faults.ShouldHaveSingleItem().ShouldContain(key);
    }

    [Fact]
    public void A_key_reads_the_same_everywhere()
    {
        var key = SettingKeys.All.Single(k => k.Name == "requestTimeout");
        key.Option.ShouldBe("--request-timeout");
        key.Variable.ShouldBe("INTERPRETER_KERNEL_REQUEST_TIMEOUT");
    }

    [Theory]
    [InlineData("30s", 30)]
    [InlineData("500ms", 0.5)]
    [InlineData("1.5m", 90)]
    [InlineData("2h", 7200)]
    [InlineData("12", 12)]
    public void Durations_are_read_as_people_write_them(string text, double seconds)
    {
        Duration.TryParse(text, out var duration).ShouldBeTrue();
        duration.TotalSeconds.ShouldBe(seconds);
        Duration.TryParse(Duration.Format(duration), out var again).ShouldBeTrue();
        again.ShouldBe(duration);
    }

    [Theory]
    [InlineData("")]
    [InlineData("0s")]
    [InlineData("-1s")]
    [InlineData("1e9h")]
    [InlineData("soon")]
    [InlineData("NaN")]
    public void What_is_no_duration_is_refused(string text) => Duration.TryParse(text, out _).ShouldBeFalse();

    [Theory]
    [InlineData("512M", 512L << 20)]
    [InlineData("2G", 2L << 30)]
    [InlineData("1.5GiB", 3L << 29)]
    [InlineData("4096", 4096)]
    public void Sizes_are_read_as_people_write_them(string text, long bytes)
    {
        ByteSize.TryParse(text, out var read).ShouldBeTrue();
        read.ShouldBe(bytes);
    }

    private Settings Read(Dictionary<string, string> arguments, Dictionary<string, string> environment)
    {
        var settings = SettingsReader.Read(arguments, environment.GetValueOrDefault, _file, out var faults);
        faults.ShouldBeEmpty();
        return settings;
    }
}
