using System.Runtime.InteropServices;

namespace InterpreterKernel.SandboxHost.Native;

/// <summary>A call of the operating system failed.</summary>
internal sealed class NativeException : IOException
{
    private NativeException(string call, int error)
        : base($"{call}: {Marshal.GetPInvokeErrorMessage(error)}")
    {
        Error = error;
    }

    /// <summary>The error number (errno).</summary>
    internal int Error { get; }

    internal static NativeException Last(string call) => new(call, Marshal.GetLastPInvokeError());

    internal static NativeException Of(string call, int error) => new(call, error);
}
