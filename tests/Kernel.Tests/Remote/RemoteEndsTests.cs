using InterpreterKernel.Broker;
using InterpreterKernel.Kernel.Remote;
using InterpreterKernel.Protocol.Relay;
using InterpreterKernel.Sandbox;

namespace InterpreterKernel.Kernel.Tests.Remote;

public sealed class RemoteEndsTests
{
    public static TheoryData<string> Reasons => [.. All];

    private static string[] All =>
        [.. typeof(ClaimReasons).GetFields().Where(f => f.IsLiteral).Select(f => (string)f.GetRawConstantValue()!)];

    [Theory]
    [MemberData(nameof(Reasons))]
    public void Every_reason_of_the_broker_has_a_name_and_the_page_explains_those_that_users_meet(string reason)
    {
        var name = RemoteEnds.NameOf(reason);
        var page = File.ReadAllText(Path.Combine(Root(), "docs", "timeouts.md"));
        (page.Contains($"`{name}`", StringComparison.Ordinal) || reason is ClaimReasons.Released or ClaimReasons.HandedOver).ShouldBeTrue(name);
        All.Count(other => RemoteEnds.NameOf(other) == name).ShouldBe(1, "each has its own");
    }

    [Theory]
    [InlineData("new_reason", "NewReason")]
    [InlineData("", "SandboxLost")]
    [InlineData(null, "SandboxLost")]
    public void A_reason_that_is_not_known_yet_is_told_all_the_same(string? reason, string expected) => RemoteEnds.NameOf(reason).ShouldBe(expected);

    [Fact]
    public void A_broker_that_goes_away_before_there_is_a_sandbox_has_lost_none() =>
        RemoteEnds.NameOfRefusal(ClaimReasons.Broker).ShouldBe("BrokerUnavailable");

    [Theory]
    [InlineData(17, null, null, "KernelDied", "exit code 17")]
    [InlineData(null, "SIGSEGV", false, "KernelDied", "SIGSEGV")]
    [InlineData(null, "SIGKILL", true, "KernelOutOfMemory", "memory")]
    public void The_death_of_the_kernel_process_says_how(int? code, string? signal, bool? outOfMemory, string name, string text)
    {
        var end = RemoteEnds.Died(new KernelDied(new KernelEnding(code, signal, "last words\n"), false, outOfMemory));
        end.KernelDied.ShouldBeTrue();
        end.Name.ShouldBe(name);
        end.Message.ShouldContain(text);
        end.Message.ShouldEndWith("Its last words:\nlast words");
    }

    [Fact]
    public void The_end_of_the_link_is_told_by_what_ended_it()
    {
        Name(RelayLinkEndReason.RelayReplaced).ShouldBe("RelayDied");
        Name(RelayLinkEndReason.RelayGone).ShouldBe("RelayDied");
        Name(RelayLinkEndReason.ProtocolViolated).ShouldBe("RelayFailed");
        Name(RelayLinkEndReason.Closed).ShouldBe("SandboxLost");
        Name(RelayLinkEndReason.AttachFailed, new SandboxLostException("s", "gone")).ShouldBe("SandboxLost");
        Name(RelayLinkEndReason.AttachFailed, new SandboxException(SandboxFault.Authentication, "no")).ShouldBe("KeyRejected");
    }

    [Fact]
    public void A_start_that_takes_too_long_names_the_setting_and_what_is_in_the_way()
    {
        var fault = RemoteEnds.StartTimeout(TimeSpan.FromSeconds(60), new RelayConnection(false, DateTimeOffset.UnixEpoch, "no route"));
        fault.Name.ShouldBe("KernelStartTimeout");
        fault.Message.ShouldContain("1m of being started (startTimeout)");
        fault.Message.ShouldContain("no route");
    }

    private static string Name(RelayLinkEndReason reason, Exception? cause = null) => RemoteEnds.LinkEnded(new RelayLinkEnd(reason, "why", cause)).Name;

    private static string Root()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(folder.FullName, "InterpreterKernel.sln")))
        {
            folder = folder.Parent!;
        }

        return folder.FullName;
    }
}
