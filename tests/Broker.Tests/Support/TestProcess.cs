using System.Diagnostics;
using System.Globalization;

namespace InterpreterKernel.Broker.Tests;

/// <summary>This test program started once more, as one of the roles in Program.cs. Killed when disposed.</summary>
internal sealed class TestProcess : IAsyncDisposable
{
    private readonly Process _process;

    private TestProcess(Process process) => _process = process;

    public static IReadOnlyList<string> CommandFor(string role) => ["dotnet", "exec", typeof(TestProcess).Assembly.Location, role];

    public static BrokerLauncher LauncherFor(RuntimeDirectory directory, string role) => new(directory, CommandFor(role));

    public static TestProcess Start(RuntimeDirectory directory, params string[] role)
    {
        var start = new ProcessStartInfo("dotnet") { RedirectStandardOutput = true };
        foreach (var argument in (IEnumerable<string>)["exec", typeof(TestProcess).Assembly.Location, .. role])
        {
            start.ArgumentList.Add(argument);
        }

        start.Environment[RuntimeDirectory.Variable] = directory.Path;
        return new TestProcess(Process.Start(start)!);
    }

    public int Pid => _process.Id;

    public async Task<string?> ReadLineAsync()
    {
        using var bound = new CancellationTokenSource(Bound.Default);
        return await _process.StandardOutput.ReadLineAsync(bound.Token);
    }

    public async Task<int> EndAsync()
    {
        await _process.WaitForExitAsync().WaitAsync(Bound.Default);
        return _process.ExitCode;
    }

    /// <summary>SIGKILL.</summary>
    public void Kill() => _process.Kill();

    public void Signal(string name)
    {
        using var kill = Process.Start("/bin/kill", ["-s", name, _process.Id.ToString(CultureInfo.InvariantCulture)]);
        kill.WaitForExit();
        kill.ExitCode.ShouldBe(0);
    }

    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited)
        {
            _process.Kill();
            await _process.WaitForExitAsync();
        }

        _process.Dispose();
    }
}
