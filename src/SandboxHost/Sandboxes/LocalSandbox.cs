using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
using InterpreterKernel.SandboxHost.Agent;
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
    private readonly Container _container;
    private readonly Poller _poller;
    private readonly TimeProvider _time;
    private readonly string _searchPath;

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
    }

    internal string Id { get; }

    /// <summary>What callers of envd must show. Random, and never logged.</summary>
    internal string AccessToken { get; }

    internal SandboxRequest Request { get; }

    internal DateTimeOffset StartedAt { get; }

    internal DateTimeOffset EndAt { get; set; }

    /// <summary>Cancelled when the sandbox is being killed: every open request on it ends at once.</summary>
    internal CancellationToken Gone { get; }

    internal Container Container => _container;

    internal Poller Poller => _poller;

    internal TimeProvider Time => _time;

    internal WatcherTable Watchers { get; } = new();

    /// <summary>Those that have not ended.</summary>
    internal IEnumerable<LocalProcess> Processes => _processes.Values.Where(p => !p.Completion.IsCompleted);

    /// <summary>Starts a program as envd does: its environment is made from nothing but what is listed here.</summary>
    internal async Task<(LocalProcess Process, Subscription Subscription)> StartAsync(
        string command, IReadOnlyList<string> arguments, IReadOnlyDictionary<string, string> environment, string? cwd, bool stdin, string? tag, TerminalSize? terminal = null)
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
        foreach (var (name, value) in Request.EnvVars.Concat(environment))
        {
            merged[name] = value;
        }

        var request = new ProcessRequest(
            command, arguments, environment, cwd, [.. merged.Select(e => $"{e.Key}={e.Value}")], Resolve(cwd ?? ""), stdin, tag, terminal);
        var (process, subscription) = await LocalProcess.StartAsync(_container, _poller, request);
        _processes[process.Pid] = process;
        _ = RetireAsync(process);
        return (process, subscription);
    }

    /// <summary>The process of that id, if it runs or ended a short while ago.</summary>
    internal LocalProcess? Find(uint pid) => _processes.GetValueOrDefault(pid);

    /// <summary>A process with that tag, running ones first.</summary>
    internal LocalProcess? Find(string tag) =>
        _processes.Values.Where(p => p.Request.Tag == tag).OrderBy(p => p.Completion.IsCompleted).FirstOrDefault();

    /// <summary>A path as envd reads it: <c>~</c> is the home, a relative one starts there, none is the home itself.</summary>
    internal static string Resolve(string path) =>
        path is "" or "~" ? Home
        : path.StartsWith("~/", StringComparison.Ordinal) ? Home + path[1..]
        : path.StartsWith('/') ? path
        : Home + "/" + path;

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

    private async Task RetireAsync(LocalProcess process)
    {
        await process.Completion;
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
