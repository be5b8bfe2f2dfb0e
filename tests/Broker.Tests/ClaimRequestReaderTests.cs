using System.Text;
using System.Text.Json;

namespace InterpreterKernel.Broker.Tests;

public sealed class ClaimRequestReaderTests
{
    [Fact]
    public void What_the_client_writes_is_what_the_broker_reads()
    {
        var request = new ClaimRequest
        {
            Key = "0123456789abcdef",
            Owner = new ClaimOwner(12, "näme.ipynb"),
            Service = new ServiceAddress
            {
                ApiUrl = new Uri("http://127.0.0.1:3000"),
                SandboxUrl = new Uri("https://sandbox.example.org/x"),
                Domain = "example.org",
                ApiKey = "e2b_1",
                Debug = true,
            },
            Template = "t:tag",
            Limit = 3,
            LifetimeSeconds = 90,
            Python = "/opt/venv/bin/python",
            Resources = new ClaimResources(64 << 20, 1 << 20, 0.5, 16),
            Wait = new ClaimWait(ClaimWait.WaitPolicy, 2.5),
        };
        var json = JsonSerializer.SerializeToUtf8Bytes(request, BrokerJson.Default.ClaimRequest);

        ClaimRequestReader.Read(json).Request.ShouldBe(request);
    }

    [Fact]
    public void Maps_are_read()
    {
        var (request, _) = ClaimRequestReader.Read("""{"key":"0123456789","metadata":{"a":"1"},"envVars":{"B":"x=\ny","C":""}}"""u8.ToArray());
        request!.Metadata.ShouldBe(new Dictionary<string, string> { ["a"] = "1" });
        request.EnvVars.ShouldBe(new Dictionary<string, string> { ["B"] = "x=\ny", ["C"] = "" });
    }

    [Fact]
    public void Little_is_needed_and_nulls_and_unknown_fields_do_not_matter()
    {
        var (request, faults) = ClaimRequestReader.Read("""{"key":"0123456789","service":null,"limit":null,"colour":"blue"}"""u8.ToArray());
        faults.ShouldBeEmpty();
        request.ShouldBe(new ClaimRequest { Key = "0123456789" });
    }

    [Fact]
    public void All_faults_are_named_at_once()
    {
        var (request, faults) = ClaimRequestReader.Read(Encoding.UTF8.GetBytes("""
            {"key":"xyz","owner":{"pid":-1,"label":"a\u0000b"},"service":{"apiUrl":"file:///etc","sandboxUrl":7,"domain":"a b","apiKey":"k\r\nX: y","debug":"yes"},
             "template":"","limit":1.5,"lifetimeSeconds":1,"metadata":{"interpreter-kernel.broker":"x","n":1},"envVars":{"A=B":"1"},"python":"python3","resources":{"memory":1,"disk":"1G","cpus":0,"pids":15},
             "wait":{"policy":"perhaps","seconds":-1}}
            """));

        request.ShouldBeNull();
        faults.Select(f => f.Field).ShouldBe(
            [
                "key", "owner.pid", "owner.label", "service.apiUrl", "service.sandboxUrl", "service.domain", "service.apiKey", "service.debug", "template",
                "limit", "lifetimeSeconds", "metadata.interpreter-kernel.broker", "metadata.n", "envVars.A=B", "python", "resources.memory", "resources.disk", "resources.cpus", "resources.pids", "wait.policy", "wait.seconds",
            ],
            ignoreOrder: true);
    }

    [Theory]
    [InlineData("\"x\"")]
    [InlineData("7")]
    [InlineData("{\"key\":\"0123456789\",\"owner\":[]}")]
    [InlineData("{\"key\":\"0123456789\"}}")]
    [InlineData("{\"key\":\"0123456789\",\"metadata\":{\"a\":{\"b\":{\"c\":{\"d\":{\"e\":{\"f\":{\"g\":1}}}}}}}}")]
    [InlineData("{\"key\":\"\\ud800\"}")]
    public void Other_nonsense_is_a_fault_and_not_a_crash(string json)
    {
        var (request, faults) = ClaimRequestReader.Read(Encoding.UTF8.GetBytes(json));
        request.ShouldBeNull();
        faults.ShouldNotBeEmpty();
    }
}
