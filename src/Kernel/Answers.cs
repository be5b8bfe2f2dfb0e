using System.Text.Json;
using InterpreterKernel.Protocol.Jupyter;

namespace InterpreterKernel.Kernel;

/// <summary>The messages that the bridge makes itself, always under the session of the real kernel (jupyter-wire.md section 2.5).</summary>
internal sealed class Answers(KernelMessages messages)
{
    private KernelMessages _messages = messages;
    private bool _learned;

    /// <summary>iopub: <c>status</c>.</summary>
    public JupyterMessage Status(JupyterMessage? parent, string state) => _messages.Status(state, parent);

    /// <summary>iopub: a line for the cell.</summary>
    public JupyterMessage Stream(JupyterMessage? parent, string text) => _messages.Stream("stderr", text, parent);

    /// <summary>iopub: text of a cell's own output.</summary>
    public JupyterMessage Printed(JupyterMessage parent, string text) => _messages.Stream("stdout", text, parent);

    /// <summary>iopub: text in a place that can be written over.</summary>
    public JupyterMessage Shown(JupyterMessage parent, string place, string text, bool update) => _messages.Display(place, text, update, parent);

    /// <summary>stdin: a question to the user.</summary>
    public JupyterMessage Question(JupyterMessage request, string prompt) => _messages.InputRequest(request, prompt);

    /// <summary>iopub: takes what was shown in the cell away.</summary>
    public JupyterMessage ClearOutput(JupyterMessage parent) => _messages.ClearOutput(wait: false, parent);

    /// <summary>iopub: the error that ended a cell.</summary>
    public JupyterMessage Error(JupyterMessage parent, CellError error) => _messages.Error(error, parent);

    /// <summary>The failed reply to a request; null for a type that gets none.</summary>
    public JupyterMessage? ErrorReply(JupyterMessage request, CellError error, int executionCount = 0) =>
        _messages.ErrorReply(request, error, executionCount);

    /// <summary>The reply to a cell that was not run because of one before it.</summary>
    public JupyterMessage Aborted(JupyterMessage cell) => _messages.AbortedReply(cell);

    /// <summary>The reply to is_complete_request where there is no kernel to ask.</summary>
    public JupyterMessage CompletenessUnknown(JupyterMessage request) => _messages.CompletenessUnknownReply(request);

    /// <summary>The reply to kernel_info_request, with the kernel's own content.</summary>
    public JupyterMessage KernelInfo(JupyterMessage request, ReadOnlyMemory<byte> content) => _messages.KernelInfoReply(request, content);

    /// <summary>The reply to interrupt_request.</summary>
    public JupyterMessage Interrupted(JupyterMessage request) => _messages.InterruptReply(request);

    /// <summary>The reply to shutdown_request, or its announcement to all clients.</summary>
    public JupyterMessage ShutDown(JupyterMessage request, bool restart) => _messages.ShutdownReply(request, restart);

    /// <summary>
    /// Takes the session over that the kernel turned out to have. The one we chose is usually the kernel's own; a kernel that
    /// can't be told one has another.
    /// </summary>
    public void LearnSession(JupyterMessage fromKernel)
    {
        if (_learned)
        {
            return;
        }

        _learned = true;
        if (fromKernel.Session.Length > 0 && fromKernel.Session != _messages.Session)
        {
            _messages = _messages.WithSession(fromKernel.Session);
        }
    }

    /// <summary>From now on messages are those of another kernel process.</summary>
    public void Follow(string session)
    {
        if (session != _messages.Session)
        {
            _messages = _messages.WithSession(session);
            _learned = false;
        }
    }

    /// <summary>The number of a cell, as its execute_input tells it.</summary>
    public static int ExecutionCount(JupyterMessage input)
    {
        var count = 0;
        Property(input, "execution_count"u8, (ref r) => r.TokenType == JsonTokenType.Number && r.TryGetInt32(out count));
        return count;
    }

    /// <summary>Whether a status message says idle.</summary>
    public static bool IsIdle(JupyterMessage status) => Property(status, "execution_state"u8, static (ref r) => IsText(ref r, "idle"u8));

    /// <summary>Whether a reply says that all went well.</summary>
    public static bool IsOk(JupyterMessage reply) => Property(reply, "status"u8, static (ref r) => IsText(ref r, "ok"u8));

    /// <summary>Whether a status message says busy.</summary>
    public static bool IsBusy(JupyterMessage status) => Property(status, "execution_state"u8, static (ref r) => IsText(ref r, "busy"u8));

    /// <summary>Whether a status message says starting.</summary>
    public static bool IsStarting(JupyterMessage status) => Property(status, "execution_state"u8, static (ref r) => IsText(ref r, "starting"u8));

    /// <summary>Whether a shutdown_request wants the kernel back.</summary>
    public static bool WantsRestart(JupyterMessage request) => Property(request, "restart"u8, static (ref r) => r.TokenType == JsonTokenType.True);

    /// <summary>A flag in the content of a request.</summary>
    public static bool Flag(JupyterMessage request, ReadOnlySpan<byte> name, bool otherwise)
    {
        var value = otherwise;
        Property(request, name, (ref r) =>
        {
            value = r.TokenType switch
            {
                JsonTokenType.True => true,
                JsonTokenType.False => false,
                _ => value,
            };
            return true;
        });
        return value;
    }

    /// <summary>A text in the content of a message; null when there is none of that name.</summary>
    public static string? Text(JupyterMessage message, ReadOnlySpan<byte> name)
    {
        string? text = null;
        try
        {
            Property(message, name, (ref r) =>
            {
                text = r.TokenType == JsonTokenType.String ? r.GetString() : null;
                return true;
            });
        }
        catch (InvalidOperationException)
        {
            // Half a character: as if nothing had been said.
        }

        return text;
    }

    private static bool IsText(ref Utf8JsonReader reader, ReadOnlySpan<byte> text) =>
        reader.TokenType == JsonTokenType.String && reader.ValueTextEquals(text);

    private static bool Property(JupyterMessage message, ReadOnlySpan<byte> name, Test test)
    {
        var reader = new Utf8JsonReader(message.Content.Span);
        try
        {
            if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject)
            {
                return false;
            }

            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                var found = reader.ValueTextEquals(name);
                reader.Read();
                if (found)
                {
                    return test(ref reader);
                }

                reader.Skip();
            }
        }
        catch (JsonException)
        {
            // A client's nonsense: it says neither idle nor restart.
        }

        return false;
    }

    private delegate bool Test(ref Utf8JsonReader reader);
}
