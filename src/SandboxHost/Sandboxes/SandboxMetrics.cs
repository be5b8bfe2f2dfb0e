using System.Buffers.Binary;
using InterpreterKernel.SandboxHost.Isolation;
using InterpreterKernel.SandboxHost.Native;

namespace InterpreterKernel.SandboxHost.Sandboxes;

/// <summary>What a sandbox used at one moment; the processor's share is that since the sample before.</summary>
internal sealed record MetricSample(DateTimeOffset Time, double CpuPercent, long Memory, long Cache, long DiskUsed, long DiskTotal);

/// <summary>
/// A sandbox's use of the machine. A sample is taken when somebody asks, at most one a second, and the last few hundred
/// are kept: a sandbox that nobody watches costs nothing.
/// </summary>
internal sealed class SandboxMetrics(LocalSandbox sandbox, double cpus, TimeProvider time)
{
    private const int Kept = 360;

    private static readonly TimeSpan s_interval = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(2);

    private readonly Queue<MetricSample> _samples = new();
    private readonly Lock _gate = new();
    private DateTimeOffset _lastTime = time.GetUtcNow();
    private TimeSpan _lastCpu;

    /// <summary>The samples so far, with a new one behind when the sandbox runs.</summary>
    internal async Task<IReadOnlyList<MetricSample>> ReadAsync()
    {
        if (sandbox.State == SandboxState.Running && IsDue())
        {
            try
            {
                Add(sandbox.Container.ReadUsage(), await ReadDiskAsync());
            }
            catch (Exception e) when (e is IOException or TimeoutException)
            {
                // It is being paused or killed; what is known already is the answer.
                return Snapshot();
            }
        }

        return Snapshot();
    }

    private bool IsDue()
    {
        lock (_gate)
        {
            return _samples.Count == 0 || time.GetUtcNow() - _lastTime >= s_interval;
        }
    }

    private void Add(CgroupUsage usage, (long Used, long Total) disk)
    {
        lock (_gate)
        {
            var now = time.GetUtcNow();
            var wall = (now - _lastTime).TotalSeconds;
            var percent = wall > 0 ? (usage.Cpu - _lastCpu).TotalSeconds / wall / cpus * 100 : 0;
            _lastTime = now;
            _lastCpu = usage.Cpu;
            _samples.Enqueue(new MetricSample(now, Math.Round(Math.Max(percent, 0), 2), usage.Memory, usage.Cache, disk.Used, disk.Total));
            if (_samples.Count > Kept)
            {
                _samples.Dequeue();
            }
        }
    }

    private IReadOnlyList<MetricSample> Snapshot()
    {
        lock (_gate)
        {
            return [.. _samples];
        }
    }

    private async Task<(long Used, long Total)> ReadDiskAsync()
    {
        using var pipe = sandbox.Container.CreatePipe();
        using var reading = new PolledDescriptor(sandbox.Poller, pipe.TakeRead(), forWriting: false);
        await sandbox.Container.Agent.AskDiskAsync(pipe.Write);
        pipe.Write.Dispose();
        var answer = new byte[16];
        var filled = 0;
        while (filled < answer.Length)
        {
            var count = await reading.ReadAsync(answer.AsMemory(filled)).AsTask().WaitAsync(s_patience);
            filled += count > 0 ? count : throw new IOException("the sandbox's agent did not tell how full the home is");
        }

        return (BinaryPrimitives.ReadInt64BigEndian(answer), BinaryPrimitives.ReadInt64BigEndian(answer.AsSpan(8)));
    }
}
