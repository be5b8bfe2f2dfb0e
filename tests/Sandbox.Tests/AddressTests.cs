using InterpreterKernel.Sandbox.Http;

namespace InterpreterKernel.Sandbox.Tests;

public sealed class AddressTests
{
    // settings -> control plane | envd | direct (port 8000) | host (port 8000), for sandbox "iabc"
    [Theory]
    [InlineData("", "https://api.e2b.app", "https://sandbox.e2b.app", "https://8000-iabc.e2b.app", "8000-iabc.e2b.app")]
    [InlineData("E2B_DOMAIN=e2b.dev", "https://api.e2b.dev", "https://sandbox.e2b.dev", "https://8000-iabc.e2b.dev", "8000-iabc.e2b.dev")]
    [InlineData("E2B_DOMAIN=own.example", "https://api.own.example", "https://49983-iabc.own.example", "https://8000-iabc.own.example", "8000-iabc.own.example")]
    [InlineData("E2B_API_URL=http://127.0.0.1:3000", "http://127.0.0.1:3000", "https://sandbox.e2b.app", "https://8000-iabc.e2b.app", "8000-iabc.e2b.app")]
    [InlineData("E2B_SANDBOX_URL=http://10.0.0.1:4000", "https://api.e2b.app", "http://10.0.0.1:4000", "http://10.0.0.1:4000", "8000-iabc.e2b.app")]
    [InlineData("E2B_API_URL=https://h/x/ E2B_SANDBOX_URL=https://h/y", "https://h/x", "https://h/y", "https://h/y", "8000-iabc.e2b.app")]
    [InlineData("E2B_DEBUG=true", "http://localhost:3000", "http://localhost:49983", "http://localhost:8000", "localhost:8000")]
    [InlineData("E2B_DEBUG=false", "https://api.e2b.app", "https://sandbox.e2b.app", "https://8000-iabc.e2b.app", "8000-iabc.e2b.app")]
    [InlineData("E2B_DEBUG=true E2B_API_URL=http://h:1 E2B_SANDBOX_URL=http://h:2", "http://h:1", "http://h:2", "http://h:2", "localhost:8000")]
    [InlineData("E2B_DOMAIN= E2B_API_URL=", "https://api.e2b.app", "https://sandbox.e2b.app", "https://8000-iabc.e2b.app", "8000-iabc.e2b.app")]
    public void Addresses_follow_the_rules_of_the_SDKs(string settings, string api, string envd, string direct, string host)
    {
        var connection = SandboxConnection.FromEnvironment(Variables(settings));

        ServiceAddress.Shown(ServiceAddress.Api(connection)).ShouldBe(api);
        ServiceAddress.Shown(ServiceAddress.Envd(connection, "iabc", null)).ShouldBe(envd);
        ServiceAddress.Shown(ServiceAddress.Direct(connection, "iabc", null, 8000)).ShouldBe(direct);
        Sandbox.Attach("iabc", null, connection).GetHost(8000).ShouldBe(host);
    }

    [Theory]
    [InlineData("e2b.app", null, "https://sandbox.e2b.app")]
    [InlineData("e2b.app", "", "https://sandbox.e2b.app")]
    [InlineData("e2b.app", "other.example", "https://49983-iabc.other.example")]
    [InlineData("own.example", "e2b.pro", "https://sandbox.e2b.pro")]
    public void The_domain_that_the_service_names_wins(string configured, string? named, string envd) =>
        ServiceAddress.Shown(ServiceAddress.Envd(new SandboxConnection { Domain = configured }, "iabc", named)).ShouldBe(envd);

    [Fact]
    public void A_unix_socket_serves_both_planes()
    {
        var connection = new SandboxConnection { UnixSocket = "/run/x.sock", ApiUrl = new Uri("http://elsewhere"), SandboxUrl = new Uri("http://elsewhere") };

        ServiceAddress.Api(connection).ShouldBe(new Uri("http://localhost/"));
        ServiceAddress.Envd(connection, "iabc", "own.example").ShouldBe(new Uri("http://localhost/"));
        ServiceAddress.Direct(connection, "iabc", null, 8000).ShouldBe(new Uri("http://localhost/"));
    }

    [Theory]
    [InlineData("http://h:1", "/v2/sandboxes", "http://h:1/v2/sandboxes")]
    [InlineData("http://h:1/base", "/files?path=%2Fa%20b", "http://h:1/base/files?path=%2Fa%20b")]
    [InlineData("http://h:1/base/", "/x", "http://h:1/base/x")]
    public void Paths_go_below_the_path_of_the_address(string root, string path, string whole) =>
        ServiceAddress.At(new Uri(root), path).AbsoluteUri.ShouldBe(whole);

    [Fact]
    public void All_faults_of_the_environment_are_reported_together_and_without_their_values()
    {
        var fault = Should.Throw<SandboxException>(() => SandboxConnection.FromEnvironment(new Dictionary<string, string?>
        {
            ["E2B_API_URL"] = "ftp://user:geheim@h",
            ["E2B_SANDBOX_URL"] = "http://user:geheim@h",
            ["E2B_DOMAIN"] = "not a domain",
            ["E2B_API_KEY"] = "geheim\ngeheim",
        }));

        fault.Reason.ShouldBe(SandboxFault.InvalidRequest);
        foreach (var name in new[] { "E2B_API_URL", "E2B_SANDBOX_URL", "E2B_DOMAIN", "E2B_API_KEY" })
        {
            fault.Message.ShouldContain(name);
        }

        fault.ToString().ShouldNotContain("geheim");
    }

    [Fact]
    public void A_connection_is_shown_without_its_key()
    {
        var connection = new SandboxConnection { ApiKey = "e2b_geheim", ApiUrl = new Uri("http://user:geheim@h:1/") };

        connection.ToString().ShouldNotContain("geheim");
        connection.ToString().ShouldContain("http://h:1");
    }

    [Fact]
    public void Connections_with_the_same_settings_are_equal()
    {
        new SandboxConnection { Domain = "a.example" }.ShouldBe(new SandboxConnection { Domain = "a.example" });
        new SandboxConnection { Domain = "a.example" }.ShouldNotBe(new SandboxConnection { Domain = "b.example" });
    }

    [Theory]
    [InlineData("")]
    [InlineData("../x")]
    [InlineData("a/b")]
    [InlineData("a b")]
    [InlineData("a\r\nX-Evil: 1")]
    [InlineData("ä")]
    public async Task An_id_that_is_none_is_refused_before_any_request(string id)
    {
        var connection = new SandboxConnection { ApiKey = "k", ApiUrl = new Uri("http://127.0.0.1:1") };

        Should.Throw<SandboxException>(() => Sandbox.Attach(id, null, connection)).Reason.ShouldBe(SandboxFault.InvalidRequest);
        (await Should.ThrowAsync<SandboxException>(() => Sandbox.KillAsync(id, connection))).Reason.ShouldBe(SandboxFault.InvalidRequest);
    }

    private static Dictionary<string, string?> Variables(string settings) =>
        settings.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(s => s.Split('=', 2)).ToDictionary(p => p[0], p => (string?)p[1]);
}
