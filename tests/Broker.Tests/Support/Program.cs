using InterpreterKernel.Broker;
using InterpreterKernel.Broker.Tests;
using Microsoft.Extensions.Logging;

// What some tests start as processes of their own. The runtime directory comes with the environment.
//   broker        a broker over a service in memory
//   broken        a broker that says why it cannot start, and ends
//   launch        makes sure that a broker runs, prints its pid
//   hold KEY      claims a sandbox, prints its id, and holds it until killed
var directory = RuntimeDirectory.Open();
switch (args)
{
    case ["broker"]:
        using (var loggers = LoggerFactory.Create(b => b.AddConsole(o => o.LogToStandardErrorThreshold = LogLevel.Trace)))
        {
            var service = new FakeSandboxService();
            return await BrokerApp.RunAsync(new BrokerOptions { Directory = directory, Version = "test", Services = _ => service }, loggers);
        }

    case ["broken"]:
        await Console.Error.WriteLineAsync("libzmq is missing: install libzmq5");
        return 3;

    case ["launch"]:
        await TestProcess.LauncherFor(directory, "broker").EnsureRunningAsync();
        using (var client = new BrokerClient(directory))
        {
            Console.WriteLine((await client.StatusAsync()).Pid);
        }

        return 0;

    case ["hold", var key]:
        using (var client = new BrokerClient(directory))
        {
            await using var claim = await client.ClaimAsync(new ClaimRequest { Key = key });
            await foreach (var news in claim.ReadEventsAsync())
            {
                Console.WriteLine(news.Sandbox?.Id ?? news.Event);
            }
        }

        return 0;

    default:
        await Console.Error.WriteLineAsync("This is a test program; run it with dotnet test.");
        return 2;
}
