using System.Diagnostics;
using InterpreterKernel.Kernel.Lifecycle;

namespace InterpreterKernel.Kernel.Tests.Lifecycle;

public sealed class ParentWatchTests
{
    [Fact]
    public async Task The_launcher_behind_a_wrapper_is_watched_and_its_end_is_noticed()
    {
        using var launcher = Process.Start(new ProcessStartInfo("sleep", ["60"]))!;
        Environment.SetEnvironmentVariable("JPY_PARENT_PID", launcher.Id.ToString(System.Globalization.CultureInfo.InvariantCulture));
        try
        {
            using var watch = ParentWatch.Start(TimeProvider.System);
            watch.Gone.IsCompleted.ShouldBeFalse();
            launcher.Kill();
            (await watch.Gone.WaitAsync(TimeSpan.FromSeconds(20))).ShouldBe(launcher.Id);
        }
        finally
        {
            Environment.SetEnvironmentVariable("JPY_PARENT_PID", null);
            await launcher.WaitForExitAsync();
        }
    }

    [Fact]
    public void A_launcher_that_is_already_gone_is_not_watched()
    {
        Environment.SetEnvironmentVariable("JPY_PARENT_PID", "2147480000");
        try
        {
            using var watch = ParentWatch.Start(TimeProvider.System);
            watch.Gone.IsCompleted.ShouldBeFalse();
        }
        finally
        {
            Environment.SetEnvironmentVariable("JPY_PARENT_PID", null);
        }
    }
}
