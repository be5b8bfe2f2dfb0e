using System.Globalization;
using System.Runtime.InteropServices;

namespace InterpreterKernel.Kernel.Lifecycle;

/// <summary>
/// Notices that the program which started this kernel is gone (jupyter-wire.md section 4.6). On Linux it waits on a pidfd,
/// so the news comes at once and an idle kernel costs nothing; elsewhere it asks twice a second.
/// A kernel started by pid 1, or whose parent is already gone, has no parent to watch.
/// </summary>
internal sealed partial class ParentWatch : IDisposable
{
    private const long PidfdOpen = 434;
    private const short PollIn = 1;
    private static readonly TimeSpan s_interval = TimeSpan.FromMilliseconds(500);

    private readonly TaskCompletionSource<int> _gone = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly int[] _watched;
    private readonly int _parent;
    private ITimer? _timer;

    private ParentWatch(int parent, int[] watched)
    {
        _parent = parent;
        _watched = watched;
    }

    /// <summary>Completes with the pid that is gone; never, when there is nothing to watch.</summary>
    public Task<int> Gone => _gone.Task;

    /// <summary>
    /// Starts to watch the parent, and <c>JPY_PARENT_PID</c> as well where a wrapper (conda run, uv run) stands between it and us.
    /// </summary>
    public static ParentWatch Start(TimeProvider time)
    {
        var parent = OperatingSystem.IsWindows() ? 0 : getppid();
        var watched = new List<int>();
        if (parent > 1)
        {
            watched.Add(parent);
        }

        if (int.TryParse(Environment.GetEnvironmentVariable("JPY_PARENT_PID"), NumberStyles.None, CultureInfo.InvariantCulture, out var launcher)
            && launcher > 1 && launcher != parent && IsAlive(launcher))
        {
            watched.Add(launcher);
        }

        var watch = new ParentWatch(parent, [.. watched]);
        watch.Begin(time);
        return watch;
    }

    /// <inheritdoc/>
    public void Dispose() => _timer?.Dispose();

    private static bool IsAlive(int pid) => !OperatingSystem.IsWindows() && (kill(pid, 0) == 0 || Marshal.GetLastPInvokeError() == 1);

    private void Begin(TimeProvider time)
    {
        if (_watched.Length == 0)
        {
            return;
        }

        if (OperatingSystem.IsLinux())
        {
            var descriptors = new PollDescriptor[_watched.Length];
            for (var i = 0; i < _watched.Length; i++)
            {
                var descriptor = (int)syscall(PidfdOpen, _watched[i], 0);
                if (descriptor < 0)
                {
                    // Linux before 5.3, or the process went away meanwhile: asking finds out.
                    descriptors = null;
                    break;
                }

                descriptors[i] = new PollDescriptor { Descriptor = descriptor, Events = PollIn };
            }

            if (descriptors is not null)
            {
                new Thread(() => WaitFor(descriptors), 64 * 1024) { IsBackground = true, Name = "parent watch" }.Start();
                return;
            }
        }

        _timer = time.CreateTimer(_ => Ask(), null, s_interval, s_interval);
    }

    private void WaitFor(PollDescriptor[] descriptors)
    {
        // A pidfd is readable once its process has ended. EINTR and the like: wait again.
        while (poll(descriptors, (uint)descriptors.Length, -1) <= 0)
        {
        }

        _gone.TrySetResult(_watched[Array.FindIndex(descriptors, d => d.Returned != 0)]);
    }

    private void Ask()
    {
        foreach (var pid in _watched)
        {
            if (pid == _parent ? getppid() != pid : !IsAlive(pid))
            {
                _gone.TrySetResult(pid);
            }
        }
    }

    [LibraryImport("libc")]
    private static partial int getppid();

    [LibraryImport("libc", SetLastError = true)]
    private static partial int kill(int pid, int signal);

    [LibraryImport("libc", SetLastError = true)]
    private static partial long syscall(long number, int pid, uint flags);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int poll([In, Out] PollDescriptor[] descriptors, uint count, int timeoutMilliseconds);

    [StructLayout(LayoutKind.Sequential)]
    private struct PollDescriptor
    {
        public int Descriptor;
        public short Events;
        public short Returned;
    }
}
