using InterpreterKernel.Protocol.ZeroMq;

namespace InterpreterKernel.Protocol.Tests.ZeroMq;

public sealed class ZeroMqLibraryTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("ik-libzmq-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void The_library_of_this_machine_is_found()
    {
        ZeroMqLibrary.Version.ShouldBeGreaterThanOrEqualTo(new Version(4, 2));
        ZeroMqLibrary.Location.ShouldContain("zmq");
    }

    [Fact]
    public void A_wheel_of_pyzmq_is_found_behind_the_python_on_PATH()
    {
        var bin = Directory.CreateDirectory(Path.Combine(_directory, "venv", "bin"));
        File.WriteAllText(Path.Combine(bin.FullName, "python3"), "");
        var wheel = Place("venv/lib/python3.12/site-packages/pyzmq.libs/libzmq-a430b4ce.so.5.2.5");

        Locations(("PATH", "/nonexistent:" + bin.FullName)).ShouldContain(wheel);
    }

    [Fact]
    public void A_conda_prefix_comes_before_the_wheels()
    {
        var wheel = Place("lib/python3.12/site-packages/pyzmq.libs/libzmq-1.so.5");

        var found = Locations(("CONDA_PREFIX", _directory));

        var conda = found.FindIndex(path => path.StartsWith(Path.Combine(_directory, "lib", "libzmq."), StringComparison.Ordinal));
        conda.ShouldBeGreaterThan(0);
        found.IndexOf(wheel).ShouldBeGreaterThan(conda);
    }

    [Fact]
    public void What_the_system_s_loader_knows_comes_first()
        => Locations()[0].ShouldNotContain("/");

    private static List<string> Locations(params (string Name, string Value)[] environment)
        => [.. LibraryLocations.All(name => environment.FirstOrDefault(v => v.Name == name).Value)];

    private string Place(string path)
    {
        var full = Path.Combine(_directory, path);
        Directory.CreateDirectory(Path.GetDirectoryName(full)!);
        File.WriteAllText(full, "");
        return full;
    }
}
