using InterpreterKernel.Kernel.Transfers;

namespace InterpreterKernel.Kernel.Tests.Transfers;

public sealed class LocalTreeTests : IDisposable
{
    private static readonly TransferBounds s_bounds = new(1000, 10);

    private readonly DirectoryInfo _place = Directory.CreateTempSubdirectory("ik-tree-");

    public void Dispose() => _place.Delete(recursive: true);

    [Fact]
    public void A_folder_is_planned_whole_and_links_are_left_out()
    {
        Write("data/a.txt", "12345");
        Write("data/inner/.hidden", "1");
        Write("secret", "secret");
        File.CreateSymbolicLink(At("data/link"), At("secret"));
        Directory.CreateSymbolicLink(At("data/up"), _place.FullName);
        var plan = LocalTree.Plan(At("data"), "there", s_bounds, withHidden: true);
        plan.Folders.ShouldBe(["there", "there/inner"]);
        plan.Files.Select(f => f.Remote).ShouldBe(["there/a.txt", "there/inner/.hidden"]);
        (plan.Bytes, plan.Links).ShouldBe((6, 2));
        LocalTree.Plan(At("data"), "there", s_bounds, withHidden: false).Hidden.ShouldBe(1);
    }

    [Fact]
    public void A_link_itself_is_refused()
    {
        Write("secret", "secret");
        File.CreateSymbolicLink(At("link"), At("secret"));
        Should.Throw<TransferException>(() => LocalTree.Plan(At("link"), "x", s_bounds, true)).Name.ShouldBe("TransferRefused");
    }

    [Fact]
    public void Too_much_is_refused_before_anything_is_copied()
    {
        Write("large", new string('x', 1001));
        Should.Throw<TransferException>(() => LocalTree.Plan(At("large"), "x", s_bounds, true)).Name.ShouldBe("TransferTooLarge");
        Enumerable.Range(0, 11).ToList().ForEach(i => Write($"many/{i}", ""));
        Should.Throw<TransferException>(() => LocalTree.Plan(At("many"), "x", s_bounds, true)).Message.ShouldContain("transferFiles");
    }

    [Fact]
    public void What_is_not_there_is_named() =>
        Should.Throw<TransferException>(() => LocalTree.Plan(At("nothing"), "x", s_bounds, true)).Message.ShouldContain(At("nothing"));

    private string At(string path) => Path.Combine(_place.FullName, path);

    private void Write(string path, string text)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(At(path))!);
        File.WriteAllText(At(path), text);
    }
}
