namespace InterpreterKernel.Broker.Tests;

public sealed class FilesTests : IDisposable
{
    private readonly TestDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void A_lock_has_one_holder_and_is_free_after_him()
    {
        var path = _directory.Runtime.LockPath;
        using (var first = FileLock.TryTake(path))
        {
            first.ShouldNotBeNull();
            first.Sign("me\n");
            FileLock.TryTake(path).ShouldBeNull();
        }

        using var second = FileLock.TryTake(path);
        second.ShouldNotBeNull();
        using var file = Posix.OpenOrCreate(path);
        var text = new byte[10];
        text.AsSpan(0, RandomAccess.Read(file, text, 0)).ToArray().ShouldBe("me\n"u8.ToArray());
    }

    [Fact]
    public async Task Whoever_waits_for_a_lock_gets_it_or_gives_up()
    {
        var time = new FakeTime();
        var first = FileLock.TryTake(_directory.Runtime.LockPath);
        var waiting = FileLock.TakeAsync(_directory.Runtime.LockPath, TimeSpan.FromMilliseconds(40), time, CancellationToken.None);
        await time.PassAsync(TimeSpan.FromMilliseconds(20));
        await time.PassAsync(TimeSpan.FromMilliseconds(20));
        (await waiting).ShouldBeNull();

        waiting = FileLock.TakeAsync(_directory.Runtime.LockPath, TimeSpan.FromMilliseconds(40), time, CancellationToken.None);
        await time.AwaitedAsync(TimeSpan.FromMilliseconds(20));
        first!.Dispose();
        time.Advance(TimeSpan.FromMilliseconds(20));
        using var second = await waiting;
        second.ShouldNotBeNull();
    }

    [Fact]
    public void Only_brokers_that_died_here_count_as_dead()
    {
        Directory.CreateDirectory(_directory.Runtime.InstancesPath);
        void Record(string id, string text) => File.WriteAllText(Path.Combine(_directory.Runtime.InstancesPath, id), text);
        var boot = File.ReadAllText("/proc/sys/kernel/random/boot_id").Trim();
        Record("earlier-boot", "1 1 some-other-boot\n");
        Record("pid-used-again", $"{Environment.ProcessId} 1 {boot}\n");
        Record("torn", "12");
        Record("ancient", "1 1 some-other-boot\n");
        File.SetLastWriteTimeUtc(Path.Combine(_directory.Runtime.InstancesPath, "ancient"), DateTime.UtcNow.AddDays(-3));

        var living = InstanceRecords.Enter(_directory.Runtime, TimeProvider.System);
        var records = InstanceRecords.Enter(_directory.Runtime, TimeProvider.System);

        records.Id.ShouldNotBe(living.Id);
        records.Dead.ShouldBe(["earlier-boot", "pid-used-again", "torn"], ignoreOrder: true);
        records.Leave();
        living.Leave();
        Directory.EnumerateFiles(_directory.Runtime.InstancesPath).Count().ShouldBe(3);
    }
}
