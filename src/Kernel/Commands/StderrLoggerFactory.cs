using Microsoft.Extensions.Logging;

namespace InterpreterKernel.Kernel.Commands;

/// <summary>
/// Log lines of the daemons, on stderr (which is <c>broker.log</c> for a broker that a kernel started). The console provider of
/// the framework would bring a queue, a thread and half a megabyte for the same line.
/// </summary>
internal sealed class StderrLoggerFactory : ILoggerFactory
{
    private readonly LogLevel _least = Environment.GetEnvironmentVariable("INTERPRETER_KERNEL_LOG") == "debug" ? LogLevel.Debug : LogLevel.Information;

    /// <inheritdoc/>
    public ILogger CreateLogger(string categoryName) => new Logger(categoryName, categoryName.StartsWith("Microsoft.", StringComparison.Ordinal) ? LogLevel.Warning : _least);

    /// <inheritdoc/>
    public void AddProvider(ILoggerProvider provider) => throw new NotSupportedException("There is one destination, stderr.");

    /// <inheritdoc/>
    public void Dispose()
    {
    }

    private sealed class Logger(string category, LogLevel least) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => logLevel >= least && logLevel != LogLevel.None;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            if (!IsEnabled(logLevel))
            {
                return;
            }

            var cause = exception is null ? "" : $"\n{exception}";
            Console.Error.WriteLine($"{DateTime.UtcNow:yyyy-MM-dd'T'HH:mm:ss.fff'Z'} {logLevel} {category}: {formatter(state, exception)}{cause}");
        }
    }
}
