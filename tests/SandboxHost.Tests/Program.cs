using InterpreterKernel.SandboxHost;
using InterpreterKernel.SandboxHost.Tests;
using Microsoft.Extensions.Logging;

// The test assembly is a program as well: a host in a process of its own, which a test may kill or run as another user.
//   dotnet InterpreterKernel.SandboxHost.Tests.dll host STATE SOCKET [ACCEPTED,...]    runs until its input ends
//   dotnet InterpreterKernel.SandboxHost.Tests.dll sweep STATE
switch (args)
{
    case ["host", var state, var socket, .. var rest]:
        {
            using var log = new ConsoleLog();
            await using var app = await SandboxHostApp.StartAsync(
                new SandboxHostOptions
                {
                    StateDirectory = state,
                    UnixSocket = socket,
                    Limit = 100,
                    AcceptUnenforced = rest is [var accepted, ..] ? accepted.Split(',', StringSplitOptions.RemoveEmptyEntries) : [],
                    WatchdogCommand = Environment.GetEnvironmentVariable("TEST_WATCHDOG")?.Split(' '),
                },
                log,
                CancellationToken.None);
            Console.WriteLine("ready");
            await Console.In.ReadToEndAsync();
            return 0;
        }

    case ["sweep", var state]:
        Console.WriteLine(await SandboxHostApp.SweepAsync(state, CancellationToken.None));
        return 0;

    default:
        return 64;
}

namespace InterpreterKernel.SandboxHost.Tests
{
    internal sealed class ConsoleLog : ILoggerFactory, ILogger
    {
        public ILogger CreateLogger(string categoryName) => this;

        public void AddProvider(ILoggerProvider provider) => throw new NotSupportedException();

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Information;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            Console.Error.WriteLine(formatter(state, exception) + (exception is null ? "" : " " + exception));

        public void Dispose()
        {
        }
    }
}
