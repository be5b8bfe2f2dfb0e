using InterpreterKernel.Kernel.Transfers;

namespace InterpreterKernel.Kernel.Tests.Transfers;

public sealed class LocalTargetTests : IDisposable
{
    private readonly DirectoryInfo _place = Directory.CreateTempSubdirectory("ik-target-");

    private string Root => Path.Combine(_place.FullName, "root");

    public void Dispose() => _place.Delete(recursive: true);

    [Fact]
    public async Task A_file_is_written_with_its_folders_and_nothing_beside_it_stays()
    {
        await WriteAsync(Path.Combine(Root, "a", "b.txt"), "text");
        File.ReadAllText(Path.Combine(Root, "a", "b.txt")).ShouldBe("text");
        Directory.GetFiles(Path.Combine(Root, "a")).Length.ShouldBe(1);
    }

    [Theory]
    [InlineData("../outside.txt")]
    [InlineData("a/../../outside.txt")]
    [InlineData("/tmp/outside.txt")]
    public async Task A_path_that_leads_out_of_the_root_is_refused(string path)
    {
        Directory.CreateDirectory(Root);
        (await Should.ThrowAsync<TransferException>(() => WriteAsync(Path.Combine(Root, path), "x"))).Name.ShouldBe("TransferRefused");
        Directory.GetFileSystemEntries(_place.FullName).ShouldBe([Root]);
    }

    [Fact]
    public async Task A_folder_beside_the_root_with_the_same_beginning_is_not_in_it() =>
        await Should.ThrowAsync<TransferException>(() => WriteAsync(Root + "2/x", "x"));

    [Fact]
    public async Task A_link_to_a_folder_is_not_walked_through()
    {
        var elsewhere = _place.CreateSubdirectory("elsewhere");
        Directory.CreateDirectory(Root);
        Directory.CreateSymbolicLink(Path.Combine(Root, "link"), elsewhere.FullName);
        (await Should.ThrowAsync<TransferException>(() => WriteAsync(Path.Combine(Root, "link", "x"), "x"))).Message.ShouldContain("link");
        elsewhere.GetFileSystemInfos().ShouldBeEmpty();
    }

    [Fact]
    public async Task A_link_to_a_file_is_neither_followed_nor_replaced()
    {
        var elsewhere = Path.Combine(_place.FullName, "elsewhere.txt");
        File.WriteAllText(elsewhere, "mine");
        Directory.CreateDirectory(Root);
        File.CreateSymbolicLink(Path.Combine(Root, "x"), elsewhere);
        await Should.ThrowAsync<TransferException>(() => WriteAsync(Path.Combine(Root, "x"), "theirs"));
        File.ReadAllText(elsewhere).ShouldBe("mine");
        new FileInfo(Path.Combine(Root, "x")).LinkTarget.ShouldBe(elsewhere);
    }

    [Fact]
    public async Task A_root_that_is_a_link_is_refused()
    {
        Directory.CreateSymbolicLink(Root, _place.CreateSubdirectory("elsewhere").FullName);
        await Should.ThrowAsync<TransferException>(() => WriteAsync(Path.Combine(Root, "x"), "x"));
        Should.Throw<TransferException>(() => LocalTarget.MakeFolder(Root, Root));
    }

    [Fact]
    public async Task A_transfer_that_breaks_off_leaves_the_old_file_and_nothing_else()
    {
        await WriteAsync(Path.Combine(Root, "x"), "old");
        using var source = new MemoryStream("new"u8.ToArray());
        await Should.ThrowAsync<InvalidOperationException>(
            () => LocalTarget.WriteAsync(Root, Path.Combine(Root, "x"), source, _ => throw new InvalidOperationException(), CancellationToken.None));
        File.ReadAllText(Path.Combine(Root, "x")).ShouldBe("old");
        Directory.GetFileSystemEntries(Root).Length.ShouldBe(1);
    }

    [Theory]
    [InlineData("a", true)]
    [InlineData("..a", true)]
    [InlineData("a b", true)]
    [InlineData("é", true)]
    [InlineData("", false)]
    [InlineData(".", false)]
    [InlineData("..", false)]
    [InlineData("a/b", false)]
    [InlineData("/etc", false)]
    [InlineData("a\0", false)]
    [InlineData("a\nb", false)]
    [InlineData("a\u001b[2J", false)]
    public void A_name_of_the_sandbox_is_one_name_or_none(string name, bool usable) => RemoteTree.IsUsable(name).ShouldBe(usable);

    [Theory]
    [InlineData("a.txt", true)]
    [InlineData("COM", true)]
    [InlineData("con", false)]
    [InlineData("NUL.txt", false)]
    [InlineData("com1.x", false)]
    [InlineData("a\\b", false)]
    [InlineData("a:b", false)]
    [InlineData("a.", false)]
    [InlineData("a ", false)]
    public void Windows_takes_fewer(string name, bool usable) => RemoteTree.IsUsableOnWindows(name).ShouldBe(usable);

    private async Task WriteAsync(string path, string text)
    {
        using var source = new MemoryStream(System.Text.Encoding.UTF8.GetBytes(text));
        await LocalTarget.WriteAsync(Root, path, source, _ => { }, CancellationToken.None);
    }
}
