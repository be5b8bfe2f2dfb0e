namespace InterpreterKernel.Broker.Tests;

/// <summary>A runtime directory of one test, gone afterwards.</summary>
internal sealed class TestDirectory : IDisposable
{
    public TestDirectory() => Runtime = RuntimeDirectory.At(Path.Combine(Root, "r"));

    public string Root { get; } = Directory.CreateTempSubdirectory("ik-").FullName;

    public RuntimeDirectory Runtime { get; }

    /// <summary>No broker holds the lock, and none left its socket or its record.</summary>
    public async Task ShouldBeLeftCleanAsync()
    {
        using (var taken = await FileLock.TakeAsync(Runtime.LockPath, Bound.Default, TimeProvider.System, CancellationToken.None))
        {
            taken.ShouldNotBeNull();
        }

        File.Exists(Runtime.SocketPath).ShouldBeFalse();
        Directory.EnumerateFiles(Runtime.InstancesPath).ShouldBeEmpty();
    }

    public void Dispose() => Directory.Delete(Root, recursive: true);
}
