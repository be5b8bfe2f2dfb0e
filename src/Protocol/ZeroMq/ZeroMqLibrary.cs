using System.Reflection;
using System.Runtime.InteropServices;

namespace InterpreterKernel.Protocol.ZeroMq;

/// <summary>Finds and loads libzmq once, from wherever systems and Python distributions keep it.</summary>
public static class ZeroMqLibrary
{
    /// <summary>Names the library file to use; nothing else is then tried.</summary>
    public const string PathVariable = "INTERPRETER_KERNEL_LIBZMQ";

    private static readonly Lazy<Loaded> s_loaded = new(Load);

    /// <summary>Where it was found: a path, or the bare name when the system's loader knew it.</summary>
    /// <exception cref="ZeroMqException">There is no usable libzmq; the text names the package to install.</exception>
    public static string Location => s_loaded.Value.Location;

    /// <summary>Its version.</summary>
    /// <exception cref="ZeroMqException">There is no usable libzmq.</exception>
    public static Version Version => s_loaded.Value.Version;

    /// <summary>Whether it was built with CURVE encryption.</summary>
    /// <exception cref="ZeroMqException">There is no usable libzmq.</exception>
    public static bool HasCurve
    {
        get
        {
            EnsureLoaded();
            return LibZmq.Has("curve") != 0;
        }
    }

    /// <summary>Loads it now, so that its absence is told here and not in the middle of something.</summary>
    /// <exception cref="ZeroMqException">There is no usable libzmq.</exception>
    public static void EnsureLoaded() => _ = s_loaded.Value;

    internal static void Register() => NativeLibrary.SetDllImportResolver(typeof(LibZmq).Assembly, Resolve);

    private static nint Resolve(string name, Assembly assembly, DllImportSearchPath? searchPath)
        => name == LibZmq.Name ? s_loaded.Value.Handle : 0;

    private static Loaded Load()
    {
        if (Environment.GetEnvironmentVariable(PathVariable) is { Length: > 0 } given)
        {
            // What was asked for by name is not silently replaced by something else.
            return TryLoad(given) ?? throw new ZeroMqException(
                ZeroMqFault.LibraryMissing,
                $"{PathVariable} names '{given}', which is not a usable libzmq of version 4.2 or later. Correct or remove the variable.");
        }

        foreach (var candidate in LibraryLocations.All(Environment.GetEnvironmentVariable))
        {
            if (TryLoad(candidate) is { } loaded)
            {
                return loaded;
            }
        }

        throw new ZeroMqException(
            ZeroMqFault.LibraryMissing,
            "libzmq, the library that carries Jupyter's messages, was not found. Install it: 'apt install libzmq5' (Debian, Ubuntu), "
            + "'dnf install zeromq' (Fedora), 'brew install zeromq' (macOS), 'conda install -c conda-forge zeromq' (Conda), or 'pip install pyzmq' "
            + $"(any Python on PATH); or set {PathVariable} to the library's file.");
    }

    private static Loaded? TryLoad(string candidate)
    {
        if (!NativeLibrary.TryLoad(candidate, out var handle))
        {
            return null;
        }

        // XPUB_NODROP and live changes of options came with 4.2.
        if (VersionIn(handle) is { } version && version >= new Version(4, 2))
        {
            return new Loaded(handle, candidate, version);
        }

        NativeLibrary.Free(handle);
        return null;
    }

    private static unsafe Version? VersionIn(nint library)
    {
        if (!NativeLibrary.TryGetExport(library, "zmq_version", out var function))
        {
            return null;
        }

        int major, minor, patch;
        ((delegate* unmanaged<int*, int*, int*, void>)function)(&major, &minor, &patch);
        return new Version(major, minor, patch);
    }

    private sealed record Loaded(nint Handle, string Location, Version Version);
}
