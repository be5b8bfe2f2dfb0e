using InterpreterKernel.Kernel.Transfers;

namespace InterpreterKernel.Kernel.Tests.Transfers;

public sealed class TransferRulesTests : IDisposable
{
    private readonly DirectoryInfo _place = Directory.CreateTempSubdirectory("ik-rules-");

    public void Dispose() => _place.Delete(recursive: true);

    [Theory]
    [InlineData("data", true)]
    [InlineData("a/b/c.txt", true)]
    [InlineData(".", true)]
    [InlineData("../data", false)]
    [InlineData("a/../../data", false)]
    [InlineData("/etc/passwd", false)]
    [InlineData("~/.bashrc", false)]
    [InlineData(".ssh", false)]
    [InlineData("a/.git/hooks", false)]
    [InlineData("link/x", false)]
    public void The_notebooks_own_rule_is_its_folder_without_what_is_hidden_or_behind_links(string path, bool allowed)
    {
        Directory.CreateSymbolicLink(Path.Combine(_place.FullName, "link"), "/");
        var rules = new TransferRules(TransferMode.Notebook, _place.FullName);
        if (allowed)
        {
            rules.Check(rules.Resolve(path), canAsk: true);
        }
        else
        {
            Should.Throw<TransferException>(() => rules.Check(rules.Resolve(path), canAsk: true)).Name.ShouldBe("TransferRefused");
        }
    }

    [Theory]
    [InlineData("y", 2)]
    [InlineData("Always", 1)]
    public async Task Unless_told_otherwise_the_user_is_asked(string answer, int questions)
    {
        var rules = new TransferRules(TransferMode.Ask, _place.FullName);
        var asked = 0;
        for (var i = 0; i < 2; i++)
        {
            await rules.AllowAsync("copy x", question =>
            {
                question.ShouldContain("copy x");
                asked++;
                return Task.FromResult(answer);
            });
        }

        asked.ShouldBe(questions);
    }

    [Theory]
    [InlineData("")]
    [InlineData("n")]
    [InlineData("yesterday")]
    public async Task Anything_but_yes_is_no(string answer)
    {
        var rules = new TransferRules(TransferMode.Ask, _place.FullName);
        (await Should.ThrowAsync<TransferException>(() => rules.AllowAsync("copy x", _ => Task.FromResult(answer)))).Name.ShouldBe("TransferRefused");
    }

    [Fact]
    public async Task Where_nobody_can_be_asked_nothing_is_even_looked_at_until_it_was_allowed()
    {
        var rules = new TransferRules(TransferMode.Ask, _place.FullName);
        Should.Throw<TransferException>(() => rules.Check("/nowhere/at/all", canAsk: false)).Message.ShouldContain("INTERPRETER_KERNEL_TRANSFERS");
        await rules.AllowAsync("copy x", _ => Task.FromResult("a"));
        rules.Check("/nowhere/at/all", canAsk: false);
    }

    [Fact]
    public async Task Any_asks_nobody_and_none_lets_nothing_pass()
    {
        var any = new TransferRules(TransferMode.Any, _place.FullName);
        any.Check("/etc/passwd", canAsk: false);
        await any.AllowAsync("x", _ => throw new InvalidOperationException());
        Should.Throw<TransferException>(() => new TransferRules(TransferMode.None, _place.FullName).Check(_place.FullName, canAsk: true));
    }
}
