using System.Diagnostics;
using System.Text.Json.Nodes;

namespace InterpreterKernel.Service.Tests;

/// <summary>
/// E2B's JavaScript SDK and our client do the same things to the same host and have to see the same: what one takes for a
/// missing file is no broken connection to the other. scripts/test.sh installs the SDK (tests/Sdk).
/// </summary>
public sealed class AgreementTests
{
    [Fact]
    public async Task Both_clients_see_the_same_in_every_row_of_the_table()
    {
        await using var service = await ServiceFixture.StartAsync();
        var theirs = await TheirsAsync(service);
        var ours = new Operations(service.Connection);
        await ours.RunAsync();

        ours.Results.Select(r => r.Key).ShouldBe(theirs.Select(r => r.Key));
        theirs.Count.ShouldBeGreaterThan(60);
        var different = theirs.Where(r => !JsonNode.DeepEquals(r.Value, ours.Results[r.Key]))
            .Select(r => $"{r.Key}: SDK {r.Value?.ToJsonString() ?? "null"}, ours {ours.Results[r.Key]?.ToJsonString() ?? "null"}");
        different.ShouldBeEmpty();
        (await service.CountAsync()).ShouldBe(0);
    }

    private static async Task<JsonObject> TheirsAsync(ServiceFixture service)
    {
        var directory = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(directory, "InterpreterKernel.sln")))
        {
            directory = Path.GetDirectoryName(directory)!;
        }

        var sdk = Path.Combine(directory, "tests/Sdk");
        Directory.Exists(Path.Combine(sdk, "node_modules")).ShouldBeTrue("E2B's SDK is not installed: run `npm ci` in tests/Sdk, or scripts/test.sh");
        var start = new ProcessStartInfo("node", ["agreement.mjs"]) { WorkingDirectory = sdk, RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (var (name, value) in service.Variables)
        {
            start.Environment[name] = value;
        }

        using var node = Process.Start(start)!;
        var errors = node.StandardError.ReadToEndAsync();
        var output = await node.StandardOutput.ReadToEndAsync();
        await node.WaitForExitAsync();
        node.ExitCode.ShouldBe(0, await errors);
        return JsonNode.Parse(output)!.AsObject();
    }
}
