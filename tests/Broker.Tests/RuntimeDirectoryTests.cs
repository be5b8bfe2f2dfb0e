using System.Globalization;

namespace InterpreterKernel.Broker.Tests;

public sealed class RuntimeDirectoryTests : IDisposable
{
    private const UnixFileMode Private = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    private readonly string _root = Directory.CreateTempSubdirectory("ik-").FullName;

    private string Wanted => Path.Combine(_root, "run");

    public void Dispose() => Directory.Delete(_root, recursive: true);

    [Fact]
    public void It_is_created_for_us_alone()
    {
        RuntimeDirectory.At(Wanted).SocketPath.ShouldBe(Path.Combine(Wanted, "broker.sock"));
        File.GetUnixFileMode(Wanted).ShouldBe(Private);
        RuntimeDirectory.At(Wanted).Path.ShouldBe(Wanted);
    }

    [Fact]
    public void The_variable_wins_over_XDG_and_that_over_tmp()
    {
        var environment = new Dictionary<string, string?> { [RuntimeDirectory.Variable] = Wanted, ["XDG_RUNTIME_DIR"] = _root };
        RuntimeDirectory.Open(environment).Path.ShouldBe(Wanted);

        environment.Remove(RuntimeDirectory.Variable);
        RuntimeDirectory.Open(environment).Path.ShouldBe(Path.Combine(_root, "interpreter-kernel"));
    }

    [Fact]
    public void What_others_can_read_is_closed_and_what_they_can_write_is_refused()
    {
        Directory.CreateDirectory(Wanted);
        File.SetUnixFileMode(Wanted, Private | UnixFileMode.GroupRead | UnixFileMode.OtherExecute);
        RuntimeDirectory.At(Wanted);
        File.GetUnixFileMode(Wanted).ShouldBe(Private);

        File.SetUnixFileMode(Wanted, Private | UnixFileMode.OtherWrite);
        Refusal(Wanted).ShouldContain("other users can write");
    }

    [Fact]
    public void A_symbolic_link_is_refused()
    {
        Directory.CreateDirectory(Wanted + "2");
        Directory.CreateSymbolicLink(Wanted, Wanted + "2");
        Refusal(Wanted).ShouldContain("symbolic link");
    }

    [Fact]
    public void A_file_is_refused()
    {
        File.WriteAllText(Wanted, "");
        Refusal(Wanted).ShouldContain(Wanted);
    }

    [Fact]
    public void Somebody_elses_directory_is_refused()
    {
        // Root owns /proc/1; for root itself, a directory is given away.
        var foreign = "/proc/1";
        if (Environment.IsPrivilegedProcess)
        {
            foreign = Wanted;
            Directory.CreateDirectory(foreign);
            using var chown = System.Diagnostics.Process.Start("chown", ["65534", foreign]);
            chown.WaitForExit();
        }

        Refusal(foreign).ShouldContain("belongs to user");
    }

    [Fact]
    public void A_path_too_long_for_a_socket_is_refused_with_the_numbers()
    {
        var message = Refusal(Path.Combine(_root, new string('x', 100)));
        message.ShouldContain(107.ToString(CultureInfo.InvariantCulture));
        message.ShouldContain(RuntimeDirectory.Variable);
    }

    [Fact]
    public void A_relative_path_is_refused() => Refusal("run").ShouldContain("absolute");

    private static string Refusal(string path)
    {
        var refused = Should.Throw<BrokerException>(() => RuntimeDirectory.At(path));
        refused.Fault.ShouldBe(BrokerFault.RuntimeDirectory);
        return refused.Message;
    }
}
