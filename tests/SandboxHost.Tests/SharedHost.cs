namespace InterpreterKernel.SandboxHost.Tests;

/// <summary>One host for the tests that do not mind each other; each makes its own sandbox.</summary>
public sealed class SharedHost : IAsyncLifetime
{
    private TestHost? _host;

    internal TestHost Host => _host!;

    internal HostClient Client => _host!.Client;

    public async Task InitializeAsync() => _host = await TestHost.StartAsync(o => o with
    {
        Resources = new SandboxResources { MemoryBytes = 256 << 20, Pids = 64, DiskBytes = 16 << 20, TmpBytes = 8 << 20, SharedMemoryBytes = 4 << 20, Cpus = 1 },
    });

    public async Task DisposeAsync() => await _host!.DisposeAsync();
}

// Not beside other collections: one of its tests counts this process's descriptors.
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class SharedHostCollection : ICollectionFixture<SharedHost>
{
    public const string Name = "shared host";
}
