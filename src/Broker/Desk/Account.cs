using System.Security.Cryptography;
using System.Text;

namespace InterpreterKernel.Broker;

/// <summary>One service account: who counts our sandboxes, and how many of them there may be.</summary>
internal sealed class Account(AccountKey key, string name, ISandboxService service, Slots slots) : IDisposable
{
    public AccountKey Key { get; } = key;

    /// <summary>For lists: <c>embedded</c> or the service's address, numbered when another account has the same.</summary>
    public string Name { get; } = name;

    public ISandboxService Service { get; } = service;

    public Slots Slots { get; } = slots;

    /// <summary>Claims that use it; guarded by the desk's lock.</summary>
    public int Claims { get; set; }

    /// <summary>Spares that were made with it; guarded by their shelf's lock.</summary>
    public int Spares { get; set; }

    public void Dispose() => Slots.Dispose();
}

/// <summary>What tells accounts apart: the control plane, and the key (as a hash, so that it does not linger in tables).</summary>
internal readonly record struct AccountKey(string Service, string KeyHash)
{
    public static readonly AccountKey Embedded = new("embedded", "");

    public static AccountKey Of(ServiceAddress? service)
    {
        if (service is null)
        {
            return Embedded;
        }

        var url = service.Debug ? "debug" : service.ApiUrl?.AbsoluteUri.TrimEnd('/') ?? $"https://api.{service.Domain ?? "e2b.app"}";
        return new AccountKey(url.ToLowerInvariant(), Convert.ToHexString(SHA256.HashData(Encoding.UTF8.GetBytes(service.ApiKey ?? ""))));
    }
}
