using InterpreterKernel.Protocol.Relay;

namespace InterpreterKernel.Kernel.Remote;

/// <summary>What a <see cref="RelayLink"/> receives.</summary>
internal abstract record RelayItem;

/// <summary>A message of the kernel; its frames belong to the taker.</summary>
internal sealed record RelayItemMessage(RelayMessage Message) : RelayItem;

/// <summary>News of the kernel's process.</summary>
internal sealed record RelayItemEvent(RelayEvent Event) : RelayItem;
