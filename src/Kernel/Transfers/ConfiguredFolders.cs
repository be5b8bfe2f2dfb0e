using InterpreterKernel.Kernel.Configuration;
using InterpreterKernel.Kernel.Lifecycle;
using InterpreterKernel.Sandbox;

namespace InterpreterKernel.Kernel.Transfers;

/// <summary>
/// The settings <c>upload</c> and <c>download</c>: a folder that is in each new sandbox before its first cell, and one whose files come out when the
/// kernel is shut down. Both have the same name there as here, in the sandbox's home.
/// </summary>
internal sealed class ConfiguredFolders(Settings settings, string notebookFolder, TimeProvider time, KernelLog log)
{
    /// <summary>Launchers kill a kernel that takes too long to end (Jupyter after 5 s, unless told otherwise); this is for those that do not.</summary>
    private static readonly TimeSpan s_longestFarewell = TimeSpan.FromSeconds(30);

    private static readonly TimeSpan s_betweenNews = TimeSpan.FromSeconds(2);

    // A sandbox that was kept over a restart has its files, changed ones too.
    private const string Mark = "/tmp/.interpreter-kernel/uploaded";

    private readonly TransferBounds _bounds = new(settings.TransferLimit, settings.TransferFiles);

    /// <summary>The connector with the folders: what it connects to has them.</summary>
    public RemoteConnector With(RemoteConnector connect) => settings.Upload is null && settings.Download is null
        ? connect
        : async (waiting, cancellationToken) =>
        {
            var remote = await connect(waiting, cancellationToken).ConfigureAwait(false);
            try
            {
                if (remote.Box is { } box)
                {
                    await BringInAsync(box.Files, waiting, cancellationToken).ConfigureAwait(false);
                }

                return remote;
            }
            catch (Exception e)
            {
                await remote.DisposeAsync().ConfigureAwait(false);
                throw e switch
                {
                    TransferException t => new RemoteUnavailableException("UploadFailed", $"The folder of the setting upload could not be brought into the sandbox: {t.Message}", t),
                    SandboxException s => new RemoteUnavailableException("UploadFailed", $"The folder of the setting upload could not be brought into the sandbox: {s.Message}", s),
                    _ => e,
                };
            }
        };

    /// <summary>Brings the results out, within a bounded time. What goes wrong is told on stderr: there is no cell any more.</summary>
    public async Task BringOutAsync(Sandbox.Sandbox? box)
    {
        if (settings.Download is not { } download || box is null)
        {
            return;
        }

        var local = Whole(download);
        using var limit = new CancellationTokenSource(s_longestFarewell, time);
        try
        {
            var plan = await RemoteTree.PlanAsync(box.Files, SettingKeys.FolderName(download), _ => local, _bounds, withHidden: false, limit.Token).ConfigureAwait(false);
            await FolderCopy.GetAsync(box.Files, plan, local, _bounds, _ => { }, limit.Token).ConfigureAwait(false);
            log.Debug($"{plan.Size} were brought to {local}{plan.LeftOut}.");
        }
        catch (OperationCanceledException)
        {
            log.Warning($"Bringing the results to {local} took longer than {s_longestFarewell.TotalSeconds:0} s; what has not come is lost.");
        }
        catch (Exception e) when (e is TransferException or SandboxException or IOException or UnauthorizedAccessException)
        {
            log.Warning($"The results were not, or not all, brought to {local}: {e.Message}");
        }
    }

    private async Task BringInAsync(Sandbox.Files files, Action<string> waiting, CancellationToken cancellationToken)
    {
        if (await files.ExistsAsync(Mark, null, cancellationToken).ConfigureAwait(false))
        {
            return;
        }

        if (settings.Upload is { } upload)
        {
            var plan = LocalTree.Plan(Whole(upload), SettingKeys.FolderName(upload), _bounds, withHidden: true);
            waiting($"Copying {upload} into the sandbox ({plan.Size})");
            var last = time.GetTimestamp();
            await FolderCopy.PutAsync(
                files,
                plan,
                _bounds,
                state =>
                {
                    var (now, before) = (time.GetTimestamp(), Interlocked.Read(ref last));
                    if (time.GetElapsedTime(before, now) > s_betweenNews && Interlocked.CompareExchange(ref last, now, before) == before)
                    {
                        waiting($"Copying {upload} into the sandbox: {state}");
                    }
                },
                cancellationToken).ConfigureAwait(false);
        }

        if (settings.Download is { } download)
        {
            await files.MakeDirectoryAsync(SettingKeys.FolderName(download), null, cancellationToken).ConfigureAwait(false);
        }

        await files.WriteAsync(Mark, ReadOnlyMemory<byte>.Empty, null, cancellationToken).ConfigureAwait(false);
    }

    private string Whole(string path) => Path.TrimEndingDirectorySeparator(Path.GetFullPath(path, notebookFolder));
}
