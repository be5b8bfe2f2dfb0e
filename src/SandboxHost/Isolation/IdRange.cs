using System.Globalization;
using System.Security.Cryptography;
using InterpreterKernel.SandboxHost.Native;

namespace InterpreterKernel.SandboxHost.Isolation;

/// <summary>
/// The user and group ids that stand on the machine for those inside one sandbox. As root each sandbox has 65,536 of
/// its own, so that two sandboxes are strangers to each other even for the kernel; they come from 0x70000000 on, which
/// systemd's allocation table (UIDs-GIDs.md) leaves to nobody. An ordinary user can map only himself, to id 0 in there.
/// </summary>
internal sealed class IdRange : IDisposable
{
    private const uint First = 0x70000000;
    private const uint PerSandbox = 0x10000;
    private const int Slots = 0x1000;

    private readonly string? _reservation;

    private IdRange(string? reservation, uint hostId, uint hostGroupId, uint size, uint userInside)
    {
        _reservation = reservation;
        HostId = hostId;
        HostGroupId = hostGroupId;
        Size = size;
        UserInside = userInside;
    }

    /// <summary>The id outside that is 0 inside.</summary>
    internal uint HostId { get; }

    /// <summary>The same for groups.</summary>
    internal uint HostGroupId { get; }

    internal uint Size { get; }

    /// <summary>The id of <c>user</c> inside: 1000, or 0 where only one id could be mapped (without any privilege then as well).</summary>
    internal uint UserInside { get; }

    /// <summary>Who must own a pipe for <c>user</c> to reopen it by name; null when that is ourselves.</summary>
    internal uint? PipeOwner => _reservation is null ? null : HostId + UserInside;

    public void Dispose()
    {
        if (_reservation is not null)
        {
            File.Delete(_reservation);
        }
    }

    /// <summary>Whether the ids we draw from exist here: in a container root may have far fewer.</summary>
    internal static bool CanMapStrangers()
    {
        foreach (var line in File.ReadLines("/proc/self/uid_map"))
        {
            if (line.Split(' ', StringSplitOptions.RemoveEmptyEntries) is [var inside, _, var count]
                && uint.TryParse(inside, CultureInfo.InvariantCulture, out var first)
                && uint.TryParse(count, CultureInfo.InvariantCulture, out var size)
                && first <= First && (ulong)first + size >= First + ((ulong)Slots * PerSandbox))
            {
                return true;
            }
        }

        return false;
    }

    internal static IdRange Reserve(HostLayout layout)
    {
        if (!layout.AsRoot)
        {
            return new IdRange(null, LibC.GetUser(), LibC.GetGroup(), 1, 0);
        }

        // A file says "taken": hosts of other state directories on this machine draw from the same ids.
        var start = RandomNumberGenerator.GetInt32(Slots);
        for (var i = 0; i < Slots; i++)
        {
            var slot = (start + i) % Slots;
            var path = Path.Combine(layout.IdReservations, slot.ToString(CultureInfo.InvariantCulture));
            try
            {
                using var file = new StreamWriter(new FileStream(path, FileMode.CreateNew, FileAccess.Write));
                file.Write(layout.Base);
                var first = First + ((uint)slot * PerSandbox);
                return new IdRange(path, first, first, PerSandbox, 1000);
            }
            catch (IOException) when (File.Exists(path))
            {
                continue;
            }
        }

        throw new SandboxHostException(SandboxHostFault.StartFailed, $"all {Slots} ranges of user ids in {layout.IdReservations} are taken; sweep up after hosts that died");
    }

    /// <summary>Frees what a dead host of this layout had reserved.</summary>
    internal static void Sweep(HostLayout layout)
    {
        if (!layout.AsRoot || !Directory.Exists(layout.IdReservations))
        {
            return;
        }

        foreach (var path in Directory.EnumerateFiles(layout.IdReservations))
        {
            try
            {
                if (File.ReadAllText(path) == layout.Base)
                {
                    File.Delete(path);
                }
            }
            catch (IOException)
            {
                // It is another host's, which is making or removing it this moment.
                continue;
            }
        }
    }
}
