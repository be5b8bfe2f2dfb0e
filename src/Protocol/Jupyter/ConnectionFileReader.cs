using System.Globalization;
using System.Text.Json;

namespace InterpreterKernel.Protocol.Jupyter;

/// <summary>Checks a connection file key by key. Unknown keys are none of our business and pass.</summary>
internal sealed class ConnectionFileReader(string name)
{
    internal const string StartAgain =
        "Start the kernel from Jupyter, which writes this file and passes its path; if you started it by hand, check the path after -f.";

    private const string MendValue = "If you wrote the file yourself, correct that value; otherwise start the kernel from Jupyter again.";

    private static readonly string[] s_ports = ["shell_port", "iopub_port", "stdin_port", "control_port", "hb_port"];

    internal ConnectionFile Read(ReadOnlyMemory<byte> json)
    {
        if (json.Length > ConnectionFile.MaxLength)
        {
            throw Fault(ConnectionFileFault.TooLarge, $"it is over {ConnectionFile.MaxLength} bytes long", StartAgain);
        }

        using var document = Parse(json);
        var root = document.RootElement;
        if (root.ValueKind != JsonValueKind.Object)
        {
            throw Fault(ConnectionFileFault.NotAnObject, $"it holds a JSON {Describe(root)}, not an object", StartAgain);
        }

        var missing = Array.FindAll(s_ports, key => !Has(root, key));
        if (missing.Length == s_ports.Length && Has(root, "registration_port"))
        {
            throw Fault(
                ConnectionFileFault.Registration,
                "it has registration_port instead of ports, so the launcher waits for the kernel to choose and register them (JEP 66), which this kernel does not do",
                "Remove kernel_protocol_version from the kernelspec's kernel.json (or declare 5.4), so that the launcher chooses the ports.");
        }

        if (missing.Length > 0)
        {
            throw Fault(ConnectionFileFault.MissingKey, "it has no " + string.Join(", ", missing), StartAgain);
        }

        var transport = TransportOf(root);
        var file = new ConnectionFile
        {
            Transport = transport,
            Ip = IpOf(root, transport),
            ShellPort = Port(root, "shell_port", transport),
            IopubPort = Port(root, "iopub_port", transport),
            StdinPort = Port(root, "stdin_port", transport),
            ControlPort = Port(root, "control_port", transport),
            HeartbeatPort = Port(root, "hb_port", transport),
            Key = Text(root, "key") ?? "",
            Scheme = SchemeOf(root),
            KernelName = Text(root, "kernel_name") ?? "",
            JupyterSession = Text(root, "jupyter_session"),
            CurvePublicKey = CurveKey(root, "curve_publickey"),
            CurveSecretKey = CurveKey(root, "curve_secretkey"),
        };
        CheckTogether(file);
        return file;
    }

    private void CheckTogether(ConnectionFile file)
    {
        int[] ports = [file.ShellPort, file.IopubPort, file.StdinPort, file.ControlPort, file.HeartbeatPort];
        if (ports.Distinct().Count() != ports.Length)
        {
            throw Fault(ConnectionFileFault.BadValue, "two channels have the same port", MendValue);
        }

        if (file.CurvePublicKey is null != file.CurveSecretKey is null)
        {
            // Serving such a connection in the clear would be worse than not serving it.
            throw Fault(ConnectionFileFault.BadValue, "it has only one of curve_publickey and curve_secretkey", MendValue);
        }
    }

    private JsonDocument Parse(ReadOnlyMemory<byte> json)
    {
        if (json.Span.StartsWith("\uFEFF"u8))
        {
            json = json[3..];
        }

        if (json.Span.Trim(" \t\r\n"u8).IsEmpty)
        {
            throw Fault(ConnectionFileFault.NotJson, "it is empty", StartAgain);
        }

        try
        {
            return JsonDocument.Parse(json);
        }
        catch (JsonException e)
        {
            // The exception's own text may quote the file, and with it the key: only the place is told.
            var place = string.Create(CultureInfo.InvariantCulture, $"line {e.LineNumber + 1}, byte {e.BytePositionInLine + 1}");
            throw Fault(ConnectionFileFault.NotJson, $"it is damaged or cut off (no valid JSON at {place})", StartAgain);
        }
    }

    private JupyterTransport TransportOf(JsonElement root) => Text(root, "transport") switch
    {
        null or "tcp" => JupyterTransport.Tcp,
        "ipc" => JupyterTransport.Ipc,
        var other => throw Fault(ConnectionFileFault.UnsupportedTransport, $"its transport is '{Short(other)}'", "Use the transport tcp or ipc."),
    };

    private SignatureScheme SchemeOf(JsonElement root) => Text(root, "signature_scheme") switch
    {
        null or "" or "hmac-sha256" => SignatureScheme.HmacSha256,
        "hmac-sha384" => SignatureScheme.HmacSha384,
        "hmac-sha512" => SignatureScheme.HmacSha512,
        var other => throw Fault(
            ConnectionFileFault.UnsupportedScheme,
            $"its signature_scheme is '{Short(other)}'",
            "Set Session.signature_scheme of the Jupyter server to hmac-sha256 (its default), hmac-sha384 or hmac-sha512."),
    };

    private string IpOf(JsonElement root, JupyterTransport transport)
    {
        var ip = Text(root, "ip");
        if (!string.IsNullOrEmpty(ip))
        {
            return ip.AsSpan().ContainsAny('\0', '\r', '\n')
                ? throw Fault(ConnectionFileFault.BadValue, "its ip holds control characters", MendValue)
                : ip;
        }

        return transport == JupyterTransport.Tcp
            ? "127.0.0.1"
            : throw Fault(ConnectionFileFault.MissingKey, "its transport is ipc and it has no ip, which is then the first part of the sockets' paths", MendValue);
    }

    private int Port(JsonElement root, string key, JupyterTransport transport)
    {
        var value = root.GetProperty(key);
        var isNumber = value.ValueKind switch
        {
            JsonValueKind.Number => value.TryGetInt32(out var number) ? number : -1,

            // The schema of JEP 106 allows strings.
            JsonValueKind.String => int.TryParse(value.GetString(), NumberStyles.None, CultureInfo.InvariantCulture, out var parsed) ? parsed : -1,
            _ => throw Fault(ConnectionFileFault.WrongType, $"its {key} is a {Describe(value)}, not a number", MendValue),
        };
        var highest = transport == JupyterTransport.Tcp ? 65535 : int.MaxValue;
        return isNumber >= 1 && isNumber <= highest
            ? isNumber
            : throw Fault(ConnectionFileFault.BadValue, $"its {key} is {Short(value.GetRawText())}, not a number from 1 to {highest}", MendValue);
    }

    private string? CurveKey(JsonElement root, string key)
    {
        var text = Text(root, key);
        return string.IsNullOrEmpty(text) || (text.Length == 40 && text.All(char.IsAscii))
            ? (text is "" ? null : text)
            : throw Fault(ConnectionFileFault.BadValue, $"its {key} is no Z85 key of 40 characters", MendValue);
    }

    private string? Text(JsonElement root, string key)
    {
        if (!Has(root, key))
        {
            return null;
        }

        var value = root.GetProperty(key);
        if (value.ValueKind != JsonValueKind.String)
        {
            throw Fault(ConnectionFileFault.WrongType, $"its {key} is a {Describe(value)}, not a string", MendValue);
        }

        try
        {
            return value.GetString();
        }
        catch (InvalidOperationException)
        {
            // Half of a surrogate pair, or bytes that are not UTF-8.
            throw Fault(ConnectionFileFault.BadValue, $"its {key} is not valid Unicode text", MendValue);
        }
    }

    private ConnectionFileException Fault(ConnectionFileFault reason, string what, string mend) => new(reason, name, what, mend);

    // A null means the same as no key: some writers dump every field they know.
    private static bool Has(JsonElement root, string key) => root.TryGetProperty(key, out var value) && value.ValueKind != JsonValueKind.Null;

    private static string Describe(JsonElement value) => value.ValueKind.ToString().ToLowerInvariant();

    private static string Short(string text) => text.Length <= 40 ? text : text[..40] + "…";
}
