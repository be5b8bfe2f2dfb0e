using InterpreterKernel.Kernel.Timeouts;
using InterpreterKernel.Kernel.Transfers;

namespace InterpreterKernel.Kernel.Configuration;

/// <summary>
/// Everything that can be set, after all sources were read (DESIGN 3.2). A null means "not set": whoever uses it has
/// the default, which is written in <see cref="SettingKeys"/>.
/// </summary>
internal sealed record Settings
{
    /// <summary>The kernelspec to start inside the sandbox.</summary>
    public string Kernel { get; init; } = "python3";

    /// <summary>The template sandboxes are made from.</summary>
    public string Template { get; init; } = "code-interpreter-v1";

    /// <summary>How many sandboxes may be held at once.</summary>
    public int Limit { get; init; } = 20;

    /// <summary>How long to wait for a free place when all are taken: zero not at all, null without end.</summary>
    public TimeSpan? Wait { get; init; }

    /// <summary>Whether ipykernel may be installed in a sandbox whose template lacks it.</summary>
    public bool PipInstall { get; init; }

    /// <summary>Embedded sandboxes: how many are kept ready for the next notebook.</summary>
    public int Spares { get; init; } = 1;

    /// <summary>The same with a remote service, where they cost and take slots of the account.</summary>
    public int RemoteSpares { get; init; }

    /// <summary>The lease of a sandbox: how long it outlives everything that could renew it.</summary>
    public TimeSpan Lifetime { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>The first clock: how long one call to the service may take.</summary>
    public TimeSpan RequestTimeout { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>How long a kernel may take from the order to start it until it answers.</summary>
    public TimeSpan StartTimeout { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>The second clock: how long a cell may run; null without limit.</summary>
    public TimeSpan? CellTimeout { get; init; }

    /// <summary>How long all cells of a notebook together may run; null without limit.</summary>
    public TimeSpan? NotebookTimeout { get; init; }

    /// <summary>How patiently a cell over its limit is stopped.</summary>
    public TimeoutGraces TimeoutGraces { get; init; } = TimeoutGraces.Default;

    /// <summary>Whether cells that wait behind one go on although stopping it lost the variables.</summary>
    public bool ContinueAfterTimeout { get; init; }

    /// <summary>A folder that is brought into the sandbox before the first cell.</summary>
    public string? Upload { get; init; }

    /// <summary>A folder that is brought out of the sandbox at the end.</summary>
    public string? Download { get; init; }

    /// <summary>What the notebook's own magics may copy.</summary>
    public TransferMode Transfers { get; init; } = TransferMode.Ask;

    /// <summary>How many bytes one transfer may be.</summary>
    public long TransferLimit { get; init; } = 1L << 30;

    /// <summary>How many files and folders one transfer may be.</summary>
    public int TransferFiles { get; init; } = 10_000;

    /// <summary>Embedded sandboxes: the interpreter whose prefix is the template.</summary>
    public string? Python { get; init; }

    /// <summary>Embedded sandboxes: a directory with a root file system instead of the host's own.</summary>
    public string? RootFilesystem { get; init; }

    /// <summary>Embedded sandboxes: memory limit in bytes.</summary>
    public long Memory { get; init; } = 2L << 30;

    /// <summary>Embedded sandboxes: size of the home folder in bytes; /tmp has half of it.</summary>
    public long Disk { get; init; } = 1L << 30;

    /// <summary>Embedded sandboxes: processor time, in processors.</summary>
    public double Cpus { get; init; } = 2;

    /// <summary>Embedded sandboxes: how many processes and threads.</summary>
    public int Pids { get; init; } = 512;

    /// <summary>Embedded sandboxes: whether they reach the network.</summary>
    public bool Network { get; init; }

    /// <summary>Embedded sandboxes: limits that the user accepts to do without where they can't be enforced.</summary>
    public IReadOnlyList<string> Unenforced { get; init; } = [];
}
