using System.Text;
using System.Text.Json.Nodes;
using InterpreterKernel.Protocol.Jupyter;

namespace InterpreterKernel.Protocol.Tests.Jupyter;

public sealed class ConnectionFileTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("ik-connection-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void A_file_of_jupyter_client_is_read()
    {
        var file = ConnectionFile.Load(Write(Valid().ToJsonString()));

        file.Transport.ShouldBe(JupyterTransport.Tcp);
        file.Key.ShouldBe("a0436f6c-1916-498b-8eb9-e81ab9368e84");
        file.Scheme.ShouldBe(SignatureScheme.HmacSha256);
        file.KernelName.ShouldBe("sandbox-python");
        file.EndpointOf(JupyterChannel.Shell).ShouldBe("tcp://127.0.0.1:57503");
        file.EndpointOf(JupyterChannel.Iopub).ShouldBe("tcp://127.0.0.1:40885");
        file.EndpointOf(JupyterChannel.Stdin).ShouldBe("tcp://127.0.0.1:52597");
        file.EndpointOf(JupyterChannel.Control).ShouldBe("tcp://127.0.0.1:50160");
        file.EndpointOf(JupyterChannel.Heartbeat).ShouldBe("tcp://127.0.0.1:42540");
        file.IsEncrypted.ShouldBeFalse();
    }

    [Fact]
    public void Ports_may_be_text_and_unknown_keys_pass()
    {
        var json = Valid();
        json["shell_port"] = "5001";
        json["something_new"] = new JsonObject { ["deep"] = 1 };
        json["jupyter_session"] = "/home/me/a.ipynb";

        var file = Parse(json);

        file.ShellPort.ShouldBe(5001);
        file.JupyterSession.ShouldBe("/home/me/a.ipynb");
    }

    [Fact]
    public void Only_the_ports_are_required()
    {
        var json = Valid();
        foreach (var key in new[] { "ip", "key", "transport", "signature_scheme", "kernel_name" })
        {
            json.Remove(key);
        }

        var file = Parse(json);

        file.Ip.ShouldBe("127.0.0.1");
        file.Key.ShouldBeEmpty();
        file.Scheme.ShouldBe(SignatureScheme.HmacSha256);
    }

    [Fact]
    public void Ipc_sockets_are_named_after_the_ip()
    {
        var json = Valid();
        json["transport"] = "ipc";
        json["ip"] = "/run/user/1000/kernel-1-ipc";
        json["shell_port"] = 1;

        Parse(json).EndpointOf(JupyterChannel.Shell).ShouldBe("ipc:///run/user/1000/kernel-1-ipc-1");
    }

    [Theory]
    [InlineData("::1", "tcp://[::1]:57503")]
    [InlineData("*", "tcp://*:57503")]
    [InlineData("localhost", "tcp://127.0.0.1:57503")]
    public void An_address_becomes_one_that_ZeroMQ_takes(string ip, string endpoint)
    {
        var json = Valid();
        json["ip"] = ip;

        Parse(json).EndpointOf(JupyterChannel.Shell).ShouldBe(endpoint);
    }

    [Theory]
    [InlineData("hmac-sha512", SignatureScheme.HmacSha512)]
    [InlineData("hmac-sha384", SignatureScheme.HmacSha384)]
    [InlineData("", SignatureScheme.HmacSha256)]
    public void A_signature_scheme_is_read(string name, SignatureScheme scheme)
    {
        var json = Valid();
        json["signature_scheme"] = name;

        Parse(json).Scheme.ShouldBe(scheme);
    }

    [Fact]
    public void Curve_keys_encrypt_the_connection()
    {
        var json = Valid();
        json["curve_publickey"] = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";
        json["curve_secretkey"] = "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6";

        Parse(json).IsEncrypted.ShouldBeTrue();
    }

    [Theory]
    [InlineData("shell_port", "0", ConnectionFileFault.BadValue)]
    [InlineData("shell_port", "70000", ConnectionFileFault.BadValue)]
    [InlineData("shell_port", "1e99", ConnectionFileFault.BadValue)]
    [InlineData("shell_port", "\"12x\"", ConnectionFileFault.BadValue)]
    [InlineData("shell_port", "40885", ConnectionFileFault.BadValue)]
    [InlineData("shell_port", "true", ConnectionFileFault.WrongType)]
    [InlineData("shell_port", "[1]", ConnectionFileFault.WrongType)]
    [InlineData("shell_port", "null", ConnectionFileFault.MissingKey)]
    [InlineData("key", "17", ConnectionFileFault.WrongType)]
    [InlineData("key", "\"\\ud800\"", ConnectionFileFault.BadValue)]
    [InlineData("ip", "{}", ConnectionFileFault.WrongType)]
    [InlineData("ip", "\"a\\nb\"", ConnectionFileFault.BadValue)]
    [InlineData("transport", "\"inproc\"", ConnectionFileFault.UnsupportedTransport)]
    [InlineData("signature_scheme", "\"hmac-md5\"", ConnectionFileFault.UnsupportedScheme)]
    [InlineData("curve_secretkey", "\"short\"", ConnectionFileFault.BadValue)]
    [InlineData("curve_secretkey", "\"JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6\"", ConnectionFileFault.BadValue)]
    public void A_wrong_value_is_refused_and_named(string key, string value, ConnectionFileFault reason)
    {
        var json = Valid();
        json[key] = JsonNode.Parse(value is "\"\\ud800\"" ? "\"MARK\"" : value);
        var text = json.ToJsonString().Replace("MARK", "\\ud800", StringComparison.Ordinal);

        var fault = Should.Throw<ConnectionFileException>(() => ConnectionFile.Parse(Encoding.UTF8.GetBytes(text), "/tmp/k.json"));

        fault.Reason.ShouldBe(reason);
        fault.Message.ShouldContain("/tmp/k.json");
        fault.Message.ShouldNotContain("a0436f6c");
    }

    [Fact]
    public void All_missing_ports_are_named_together()
    {
        var json = Valid();
        json.Remove("hb_port");
        json.Remove("stdin_port");

        var fault = Should.Throw<ConnectionFileException>(() => Parse(json));

        fault.Reason.ShouldBe(ConnectionFileFault.MissingKey);
        fault.Message.ShouldContain("stdin_port, hb_port");
    }

    [Fact]
    public void A_registration_file_is_recognised()
    {
        var json = JsonNode.Parse("""{"kernel_id":"x","transport":"tcp","registration_ip":"127.0.0.1","registration_port":"5000","key":"k"}""")!;

        var fault = Should.Throw<ConnectionFileException>(() => Parse(json.AsObject()));

        fault.Reason.ShouldBe(ConnectionFileFault.Registration);
        fault.Message.ShouldContain("kernel_protocol_version");
    }

    [Fact]
    public void A_file_cut_anywhere_is_refused_without_telling_the_key()
    {
        var bytes = Encoding.UTF8.GetBytes(Valid().ToJsonString());
        for (var length = 0; length < bytes.Length; length++)
        {
            var fault = Should.Throw<ConnectionFileException>(() => ConnectionFile.Parse(bytes.AsMemory(0, length)));
            fault.Reason.ShouldBe(ConnectionFileFault.NotJson);
            fault.Message.ShouldNotContain("a0436f6c");
        }
    }

    [Fact]
    public void A_byte_order_mark_is_no_fault()
        => ConnectionFile.Parse((byte[])[0xEF, 0xBB, 0xBF, .. Encoding.UTF8.GetBytes(Valid().ToJsonString())]).ShellPort.ShouldBe(57503);

    [Theory]
    [InlineData("[]", ConnectionFileFault.NotAnObject)]
    [InlineData("\"x\"", ConnectionFileFault.NotAnObject)]
    [InlineData("  \n", ConnectionFileFault.NotJson)]
    [InlineData("shell_port=1", ConnectionFileFault.NotJson)]
    public void What_is_no_JSON_object_is_refused(string text, ConnectionFileFault reason)
        => Should.Throw<ConnectionFileException>(() => ConnectionFile.Load(Write(text))).Reason.ShouldBe(reason);

    [Fact]
    public void A_missing_file_is_told_with_its_path_and_the_mend()
    {
        var path = Path.Combine(_directory, "nowhere", "k.json");

        var fault = Should.Throw<ConnectionFileException>(() => ConnectionFile.Load(path));

        fault.Reason.ShouldBe(ConnectionFileFault.NotFound);
        fault.Message.ShouldContain(path);
        fault.Message.ShouldContain("Start the kernel from Jupyter");
    }

    [Fact]
    public void A_directory_is_unreadable()
    {
        var fault = Should.Throw<ConnectionFileException>(() => ConnectionFile.Load(_directory));

        fault.Reason.ShouldBe(ConnectionFileFault.Unreadable);
        fault.Message.ShouldContain("it is a directory");
    }

    [Fact]
    public void A_file_without_end_is_refused()
        => Should.Throw<ConnectionFileException>(() => ConnectionFile.Load("/dev/zero")).Reason.ShouldBe(ConnectionFileFault.TooLarge);

    [Fact]
    public void The_text_form_tells_no_secret()
    {
        var json = Valid();
        json["curve_publickey"] = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";
        json["curve_secretkey"] = "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6";

        var text = Parse(json).ToString();

        text.ShouldNotContain("a0436f6c");
        text.ShouldNotContain("JTKV");
        text.ShouldContain("57503");
    }

    private static JsonObject Valid() => JsonNode.Parse("""
        {"shell_port":57503,"iopub_port":40885,"stdin_port":52597,"control_port":50160,"hb_port":42540,"ip":"127.0.0.1",
         "key":"a0436f6c-1916-498b-8eb9-e81ab9368e84","transport":"tcp","signature_scheme":"hmac-sha256","kernel_name":"sandbox-python"}
        """)!.AsObject();

    private static ConnectionFile Parse(JsonObject json) => ConnectionFile.Parse(Encoding.UTF8.GetBytes(json.ToJsonString()));

    private string Write(string text)
    {
        var path = Path.Combine(_directory, Guid.NewGuid() + ".json");
        File.WriteAllText(path, text);
        return path;
    }
}
