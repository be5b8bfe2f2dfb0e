using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
using InterpreterKernel.SandboxHost.Agent;
using InterpreterKernel.SandboxHost.CodeInterpreter;
using InterpreterKernel.SandboxHost.Files;
using InterpreterKernel.SandboxHost.Isolation;
using InterpreterKernel.SandboxHost.Native;

namespace InterpreterKernel.SandboxHost.Sandboxes;

/// <summary>One sandbox: what it was asked to be, its container, and the processes started through envd's protocol.</summary>
[SuppressMessage("Design", "CA1001", Justification = "The token source has no timer and no wait handle; requests may still register with it after the kill.")]
internal sealed class LocalSandbox
{
    internal const string Home = "/home/user";

    /// <summary>How long an ended process can still be connected to, to learn how it ended.</summary>
    private static readonly TimeSpan s_retention = TimeSpan.FromSeconds(30);

    private readonly ConcurrentDictionary<uint, LocalProcess> _processes = new();
    private readonly CancellationTokenSource _gone = new();
    private CancellationTokenSource _suspended = new();
    private readonly Container _container;
    private readonly Poller _poller;
    private readonly TimeProvider _time;
    private readonly string _searchPath;
    private int _portRequests;

    internal LocalSandbox(string id, string accessToken, SandboxRequest request, Container container, Template template, Poller poller, TimeProvider time)
    {
        Id = id;
        AccessToken = accessToken;
        Request = request;
        StartedAt = time.GetUtcNow();
        EndAt = StartedAt + request.Lifetime;
        _container = container;
        _searchPath = template.SearchPath;
        _poller = poller;
        _time = time;
        Gone = _gone.Token;
        CodeInterpreter = new CodeInterpreterProcess(this);
        Metrics = new SandboxMetrics(this, request.Resources.Cpus, time);
        Journal = new SandboxJournal(time);
        Journal.Info("sandbox created", ("template", request.TemplateId), ("lifetime", $"{request.Lifetime.TotalSeconds:0} s"));
    }

    internal string Id { get; }

    /// <summary>What callers of envd must show. Random, and never logged.</summary>
    internal string AccessToken { get; }

    /// <summary>What callers of its ports must show; null when they are public.</summary>
    internal string? TrafficToken { get; init; }

    internal SandboxRequest Request { get; }

    /// <summary>When it was made, or resumed the last time.</summary>
    internal DateTimeOffset StartedAt { get; private set; }

    internal DateTimeOffset EndAt { get; set; }

    internal SandboxState State { get; private set; }

    /// <summary>Cancelled when the sandbox is being paused; after a resume there is a new one.</summary>
    internal CancellationToken Suspended => _suspended.Token;

    /// <summary>Cancelled when the sandbox is being killed: every open request on it ends at once.</summary>
    internal CancellationToken Gone { get; }

    /// <summary>What serves its port 49999.</summary>
    internal CodeInterpreterProcess CodeInterpreter { get; }

    /// <summary>What it uses of the machine.</summary>
    internal SandboxMetrics Metrics { get; }

    /// <summary>The last events of its life.</summary>
    internal SandboxJournal Journal { get; }

    internal Container Container => _container;

    internal Poller Poller => _poller;

    internal TimeProvider Time => _time;

    internal WatcherTable Watchers { get; } = new();

    /// <summary>Those that have not ended.</summary>
    internal IEnumerable<LocalProcess> Processes => _processes.Values.Where(p => !p.Completion.IsCompleted);

    /// <summary>Starts a program as envd does: its environment is made from nothing but what is listed here.</summary>
    internal async Task<(LocalProcess Process, Subscription Subscription)> StartAsync(
        string command, IReadOnlyList<string> arguments, IReadOnlyDictionary<string, string> environment, string? cwd, bool stdin, string? tag, TerminalSize? terminal = null, bool listen = false)
    {
        var request = new ProcessRequest(
            command, arguments, environment, cwd, Environment(environment), Resolve(cwd ?? ""), stdin, listen, tag, terminal);
        var (process, subscription) = await LocalProcess.StartAsync(_container, _poller, request);
        _processes[process.Pid] = process;
        Journal.Info("process started", ("pid", $"{process.Pid}"), ("cmd", command));
        _ = RetireAsync(process);
        return (process, subscription);
    }

    /// <summary>The environment of a program of the sandbox, as "name=value", with what is asked for on top.</summary>
    internal IReadOnlyList<string> Environment(IEnumerable<KeyValuePair<string, string>> more)
    {
        var merged = new Dictionary<string, string>
        {
            ["PATH"] = _searchPath,
            ["HOME"] = Home,
            ["USER"] = "user",
            ["LOGNAME"] = "user",
            ["E2B_SANDBOX"] = "true",
            ["E2B_SANDBOX_ID"] = Id,
            ["E2B_TEMPLATE_ID"] = Request.TemplateId,
        };
        foreach (var (name, value) in Request.EnvVars.Concat(more))
        {
            merged[name] = value;
        }

        return [.. merged.Select(e => $"{e.Key}={e.Value}")];
    }

    /// <summary>The process of that id, if it runs or ended a short while ago.</summary>
    internal LocalProcess? Find(uint pid) => _processes.GetValueOrDefault(pid);

    /// <summary>A process with that tag, running ones first.</summary>
    internal LocalProcess? Find(string tag) =>
        _processes.Values.Where(p => p.Request.Tag == tag).OrderBy(p => p.Completion.IsCompleted).FirstOrDefault();

    /// <summary>Counts a request to one of its ports in; false when there are so many already.</summary>
    internal bool TryEnter(int limit)
    {
        if (Interlocked.Increment(ref _portRequests) <= limit)
        {
            return true;
        }

        Leave();
        return false;
    }

    /// <summary>Counts it out again.</summary>
    internal void Leave() => Interlocked.Decrement(ref _portRequests);

    /// <summary>A path as envd reads it: <c>~</c> is the home, a relative one starts there, none is the home itself.</summary>
    internal static string Resolve(string path) =>
        path is "" or "~" ? Home
        : path.StartsWith("~/", StringComparison.Ordinal) ? Home + path[1..]
        : path.StartsWith('/') ? path
        : Home + "/" + path;

    /// <summary>Ends the open streams and stops all processes where they are. The registry sees to it that one at a time changes it.</summary>
    internal async Task PauseAsync()
    {
        State = SandboxState.Paused;
        await _suspended.CancelAsync();
        try
        {
            await _container.PauseAsync();
            EndAt = _time.GetUtcNow();
            Journal.Info("sandbox paused");
        }
        catch
        {
            Wake();
            throw;
        }
    }

    /// <summary>Lets all processes go on.</summary>
    internal async Task ResumeAsync()
    {
        await _container.ResumeAsync();
        StartedAt = _time.GetUtcNow();
        Wake();
        Journal.Info("sandbox resumed");
    }

    /// <summary>Kills everything in it. Returns when nothing of it is left.</summary>
    internal async Task RemoveAsync()
    {
        try
        {
            await _gone.CancelAsync();
        }
        finally
        {
            // Whatever a request had to say about being cut off, its processes must go.
            await _container.DisposeAsync();
            _processes.Clear();
        }
    }

    private void Wake()
    {
        _suspended = new CancellationTokenSource();
        State = SandboxState.Running;
    }

    private async Task RetireAsync(LocalProcess process)
    {
        await process.Completion;
        if (process.End is { } end)
        {
            Journal.Info("process ended", ("pid", $"{process.Pid}"), ("status", end.Status));
        }

        try
        {
            await Task.Delay(s_retention, _time, Gone);
        }
        catch (OperationCanceledException)
        {
            return; // the whole table goes with the sandbox
        }

        // By pair: the number may belong to a newer process by now.
        _processes.TryRemove(new(process.Pid, process));
    }
}
