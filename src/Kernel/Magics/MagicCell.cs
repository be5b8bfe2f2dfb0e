using InterpreterKernel.Kernel.Configuration;
using InterpreterKernel.Protocol.Jupyter;

namespace InterpreterKernel.Kernel.Magics;

/// <summary>A cell whose magics run: what they say to it, and how it is stopped.</summary>
internal sealed class MagicCell : IDisposable
{
    /// <summary>How much one answer of the user may be.</summary>
    private const int LongestAnswer = 4096;

    private readonly CancellationTokenSource _stop = new();
    private readonly Action<MagicCell, JupyterChannel, Func<Answers, JupyterMessage>> _say;
    private readonly TimeProvider _time;
    private TaskCompletionSource<string>? _asking;

    /// <summary>Makes it.</summary>
    /// <param name="channel">Where it came in.</param>
    /// <param name="request">Its execute_request.</param>
    /// <param name="header">Its lines of ours.</param>
    /// <param name="say">Sends a message to the clients while the cell runs; afterwards does nothing.</param>
    /// <param name="time">The clock.</param>
    public MagicCell(
        JupyterChannel channel, JupyterMessage request, MagicHeader header, Action<MagicCell, JupyterChannel, Func<Answers, JupyterMessage>> say, TimeProvider time)
    {
        Channel = channel;
        Request = request;
        Header = header;
        IsSilent = Answers.Flag(request, "silent"u8, otherwise: false);
        StopsOnError = Answers.Flag(request, "stop_on_error"u8, otherwise: true);
        CanAsk = !IsSilent && Answers.Flag(request, "allow_stdin"u8, otherwise: false);
        _say = say;
        _time = time;
    }

    /// <summary>Where it came in.</summary>
    public JupyterChannel Channel { get; }

    /// <summary>Its execute_request.</summary>
    public JupyterMessage Request { get; }

    /// <summary>Its lines of ours.</summary>
    public MagicHeader Header { get; }

    /// <summary>Whether nothing of it is to be shown.</summary>
    public bool IsSilent { get; }

    /// <summary>Whether cells behind it do not run when it fails.</summary>
    public bool StopsOnError { get; }

    /// <summary>Whether this client takes questions.</summary>
    public bool CanAsk { get; }

    /// <summary>Cancelled by an interrupt, and by the end.</summary>
    public CancellationToken Stopped => _stop.Token;

    /// <summary>Whether the user is asked something at this moment.</summary>
    public bool IsAsking => _asking is { Task.IsCompleted: false };

    /// <summary>Stops it.</summary>
    public void Stop() => _stop.Cancel();

    /// <summary>Shows text.</summary>
    public void Print(string text) => Say(JupyterChannel.Iopub, a => a.Printed(Request, text + "\n"));

    /// <summary>Shows how far something is, in a place of its own, once it takes longer than a moment.</summary>
    public MagicProgress Progress(string what)
    {
        var place = Guid.NewGuid().ToString();
        return new MagicProgress(what, (text, update) => Say(JupyterChannel.Iopub, a => a.Shown(Request, place, text, update)), Print, _time);
    }

    /// <summary>Asks the user, as <c>input()</c> does.</summary>
    public async Task<string> AskAsync(string prompt)
    {
        _asking = new TaskCompletionSource<string>(TaskCreationOptions.RunContinuationsAsynchronously);
        Say(JupyterChannel.Stdin, a => a.Question(Request, prompt));
        return await _asking.Task.WaitAsync(Stopped).ConfigureAwait(false);
    }

    /// <summary>The user has answered.</summary>
    public void Answered(JupyterMessage reply)
    {
        if (reply.Content.Length <= LongestAnswer)
        {
            _asking?.TrySetResult(Answers.Text(reply, "value"u8) ?? "");
        }
        else
        {
            _asking?.TrySetResult("");
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _stop.Dispose();

    private void Say(JupyterChannel channel, Func<Answers, JupyterMessage> make)
    {
        if (!IsSilent)
        {
            _say(this, channel, make);
        }
    }
}

/// <summary>How far something is: shown from one second on, twice a second, in one place that is written over.</summary>
internal sealed class MagicProgress(string what, Action<string, bool> show, Action<string> print, TimeProvider time)
{
    private static readonly TimeSpan s_untilShown = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan s_between = TimeSpan.FromMilliseconds(500);

    private readonly Lock _gate = new();
    private readonly long _began = time.GetTimestamp();
    private long? _last;

    /// <summary>How far it is now.</summary>
    public void Report(string state)
    {
        lock (_gate)
        {
            if (time.GetElapsedTime(_last ?? _began) < (_last is null ? s_untilShown : s_between))
            {
                return;
            }

            show($"{what}: {state}", _last is not null);
            _last = time.GetTimestamp();
        }
    }

    /// <summary>It is done.</summary>
    public void Done(string text)
    {
        lock (_gate)
        {
            var line = $"{text} in {Seconds(time.GetElapsedTime(_began))}";
            if (_last is null)
            {
                print(line);
            }
            else
            {
                show(line, true);
            }
        }
    }

    private static string Seconds(TimeSpan time) =>
        time < TimeSpan.FromSeconds(100) ? string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{time.TotalSeconds:0.0} s") : Duration.Format(TimeSpan.FromSeconds(Math.Round(time.TotalSeconds)));
}
