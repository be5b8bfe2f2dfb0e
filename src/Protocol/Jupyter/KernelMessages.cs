using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace InterpreterKernel.Protocol.Jupyter;

/// <summary>
/// The few messages that we author ourselves; all others are the real kernel's. They carry the session of the real
/// kernel, because JupyterLab discards what is queued from another session (jupyter-wire.md section 2.5).
/// </summary>
public sealed class KernelMessages
{
    // Readers are JSON parsers, not web pages: text stays readable and short.
    private static readonly JsonWriterOptions s_json = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, SkipValidation = true };

    private readonly string _username;
    private readonly TimeProvider _time;
    private readonly string _version;

    /// <summary>Messages of <paramref name="session"/>, with protocol <paramref name="version"/> such as <c>5.3</c> in their headers.</summary>
    public KernelMessages(string session, string username, TimeProvider time, string version = "5.3")
    {
        Session = session;
        _username = username;
        _time = time;
        _version = version;
    }

    /// <summary>The session id that every message carries.</summary>
    public string Session { get; }

    /// <summary>The same author under the session of another kernel process.</summary>
    public KernelMessages WithSession(string session) => new(session, _username, _time, _version);

    /// <summary>The type of the reply to <paramref name="requestType"/>; null for types that get none.</summary>
    public static string? ReplyTypeOf(string requestType)
    {
        const string Ending = "_request";
        ArgumentNullException.ThrowIfNull(requestType);
        return requestType.EndsWith(Ending, StringComparison.Ordinal) && requestType.Length > Ending.Length
            ? string.Concat(requestType.AsSpan(0, requestType.Length - Ending.Length), "_reply")
            : null;
    }

    /// <summary>iopub: <c>status</c>, with a state of <c>busy</c>, <c>idle</c> or <c>starting</c>.</summary>
    public JupyterMessage Status(string state, JupyterMessage? parent)
        => Publish("status", parent, json => json.WriteString("execution_state", state));

    /// <summary>iopub: text on <c>stdout</c> or <c>stderr</c>.</summary>
    public JupyterMessage Stream(string name, string text, JupyterMessage? parent) => Publish(
        "stream",
        parent,
        json =>
        {
            json.WriteString("name", name);
            json.WriteString("text", text);
        },
        "stream." + name);

    /// <summary>iopub: the error that ended a cell.</summary>
    public JupyterMessage Error(CellError error, JupyterMessage? parent) => Publish("error", parent, json => Write(json, error));

    /// <summary>iopub: removes the output of the cell, at once or when the next output comes.</summary>
    public JupyterMessage ClearOutput(bool wait, JupyterMessage? parent)
        => Publish("clear_output", parent, json => json.WriteBoolean("wait", wait));

    /// <summary>iopub: text in a place that can be written over, by the same message with <paramref name="update"/>.</summary>
    public JupyterMessage Display(string id, string text, bool update, JupyterMessage? parent) => Publish(
        update ? "update_display_data" : "display_data",
        parent,
        json =>
        {
            json.WriteStartObject("data");
            json.WriteString("text/plain", text);
            json.WriteEndObject();
            json.WriteStartObject("metadata");
            json.WriteEndObject();
            json.WriteStartObject("transient");
            json.WriteString("display_id", id);
            json.WriteEndObject();
        });

    /// <summary>stdin: asks the client that sent a request.</summary>
    public JupyterMessage InputRequest(JupyterMessage request, string prompt) => Reply(
        request,
        "input_request",
        json =>
        {
            json.WriteString("prompt", prompt);
            json.WriteBoolean("password", false);
        });

    /// <summary>The failed <c>execute_reply</c>.</summary>
    public JupyterMessage ExecuteError(JupyterMessage request, CellError error, int executionCount) => Reply(
        request,
        "execute_reply",
        json =>
        {
            json.WriteString("status", "error");
            Write(json, error);
            json.WriteNumber("execution_count", executionCount);
            json.WriteStartObject("user_expressions");
            json.WriteEndObject();
            json.WriteStartArray("payload");
            json.WriteEndArray();
        });

    /// <summary>
    /// The failed reply to any request, with status <c>error</c> and never <c>aborted</c>, which nbclient takes for success.
    /// Null when the message is one that gets no reply.
    /// </summary>
    public JupyterMessage? ErrorReply(JupyterMessage request, CellError error, int executionCount = 0)
    {
        ArgumentNullException.ThrowIfNull(request);
        return ReplyTypeOf(request.MessageType) switch
        {
            null => null,
            "execute_reply" => ExecuteError(request, error, executionCount),
            var type => Reply(
                request,
                type,
                json =>
                {
                    json.WriteString("status", "error");
                    Write(json, error);
                }),
        };
    }

    /// <summary>The reply to a cell that does not run because one before it failed, as ipykernel gives it (jupyter-wire.md section 3.5).</summary>
    public JupyterMessage AbortedReply(JupyterMessage request)
        => Reply(request, "execute_reply", json => json.WriteString("status", "aborted"));

    /// <summary>Nobody can say whether this code is complete; the client decides by itself (jupyter-wire.md section 3.1).</summary>
    public JupyterMessage CompletenessUnknownReply(JupyterMessage request)
        => Reply(request, "is_complete_reply", json => json.WriteString("status", "unknown"));

    /// <summary>The interrupt was taken.</summary>
    public JupyterMessage InterruptReply(JupyterMessage request)
        => Reply(request, "interrupt_reply", json => json.WriteString("status", "ok"));

    /// <summary>The kernel is going away, to come back when <paramref name="restart"/>.</summary>
    public JupyterMessage ShutdownReply(JupyterMessage request, bool restart) => Reply(
        request,
        "shutdown_reply",
        json =>
        {
            json.WriteString("status", "ok");
            json.WriteBoolean("restart", restart);
        });

    /// <summary>The real kernel's own answer, kept from an earlier time, byte for byte.</summary>
    public JupyterMessage KernelInfoReply(JupyterMessage request, ReadOnlyMemory<byte> cachedContent)
    {
        ArgumentNullException.ThrowIfNull(request);
        return new JupyterMessage
        {
            Identities = request.Identities,
            Header = HeaderOf("kernel_info_reply"),
            ParentHeader = request.Header,
            Content = cachedContent,
        };
    }

    private static void Write(Utf8JsonWriter json, CellError error)
    {
        json.WriteString("ename", error.Name);
        json.WriteString("evalue", error.Value);
        json.WriteStartArray("traceback");
        foreach (var line in error.Traceback)
        {
            json.WriteStringValue(line);
        }

        json.WriteEndArray();
    }

    private static ReadOnlyMemory<byte> Json(Action<Utf8JsonWriter> content)
    {
        var buffer = new ArrayBufferWriter<byte>(256);
        using (var json = new Utf8JsonWriter(buffer, s_json))
        {
            json.WriteStartObject();
            content(json);
            json.WriteEndObject();
        }

        return buffer.WrittenMemory;
    }

    private JupyterMessage Publish(string type, JupyterMessage? parent, Action<Utf8JsonWriter> content, string? topic = null) => new()
    {
        Identities = [Encoding.UTF8.GetBytes(topic ?? $"kernel.{Session}.{type}")],
        Header = HeaderOf(type),
        ParentHeader = parent?.Header ?? JupyterMessage.EmptyObject,
        Content = Json(content),
    };

    private JupyterMessage Reply(JupyterMessage request, string type, Action<Utf8JsonWriter> content)
    {
        ArgumentNullException.ThrowIfNull(request);
        return new JupyterMessage
        {
            Identities = request.Identities,
            Header = HeaderOf(type),
            ParentHeader = request.Header,
            Content = Json(content),
        };
    }

    private ReadOnlyMemory<byte> HeaderOf(string type) => Json(json =>
    {
        json.WriteString("msg_id", Guid.NewGuid());
        json.WriteString("session", Session);
        json.WriteString("username", _username);

        // jupyter_client's parser takes up to six digits; .NET's own round-trip format has seven.
        json.WriteString("date", _time.GetUtcNow().UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.ffffff'Z'", CultureInfo.InvariantCulture));
        json.WriteString("msg_type", type);
        json.WriteString("version", _version);
    });
}

/// <summary>What a cell, or any request, failed with.</summary>
/// <param name="Name">The kind of error, such as <c>CellTimeout</c>.</param>
/// <param name="Value">One line that says what happened.</param>
/// <param name="Traceback">The lines a front end shows; they may hold ANSI colours.</param>
public sealed record CellError(string Name, string Value, IReadOnlyList<string> Traceback)
{
    /// <summary>An error that shows <paramref name="name"/> and <paramref name="value"/> and nothing else.</summary>
    public static CellError Plain(string name, string value) => new(name, value, [$"\u001b[0;31m{name}\u001b[0m: {value}"]);
}
