using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using InterpreterKernel.Sandbox.Tests.Support;

namespace InterpreterKernel.Sandbox.Tests;

public sealed class TlsTests : IDisposable
{
    private static readonly DateTimeOffset s_from = DateTimeOffset.UtcNow.AddDays(-1);
    private readonly string _authority = Path.Combine(Path.GetTempPath(), $"ik-authority-{Guid.NewGuid():n}.pem");

    public void Dispose() => File.Delete(_authority);

    [Fact]
    public async Task A_service_over_https_with_a_certificate_of_the_named_authority_is_trusted()
    {
        using var certificate = Issue();
        await using var service = await FakeService.StartAsync(certificate: certificate);
        service.On($"GET /sandboxes/{FakeService.Id}", 200, Wire.Listed(FakeService.Id));
        service.Connection.ApiUrl!.Scheme.ShouldBe("https");
        var info = await Sandbox.GetInfoAsync(FakeService.Id, service.Connection with { CertificateAuthorityFile = _authority });
        info.Id.ShouldBe(FakeService.Id);
    }

    [Fact]
    public async Task A_certificate_that_nobody_vouches_for_is_refused_and_no_key_is_sent()
    {
        using var certificate = Issue();
        await using var service = await FakeService.StartAsync(certificate: certificate);
        service.On($"GET /sandboxes/{FakeService.Id}", 200, Wire.Listed(FakeService.Id));
        var error = await Should.ThrowAsync<SandboxException>(() => Sandbox.GetInfoAsync(FakeService.Id, service.Connection));
        error.Reason.ShouldBe(SandboxFault.Unreachable);
        service.Requests.ShouldBeEmpty();
    }

    /// <summary>A certificate for 127.0.0.1 from an authority of the test's own, whose certificate is written to the file.</summary>
    private X509Certificate2 Issue()
    {
        using var authorityKey = RSA.Create(2048);
        var authorityRequest = new CertificateRequest("CN=Test authority", authorityKey, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        authorityRequest.CertificateExtensions.Add(new X509BasicConstraintsExtension(certificateAuthority: true, hasPathLengthConstraint: false, 0, critical: true));
        using var authority = authorityRequest.CreateSelfSigned(s_from, s_from.AddDays(30));
        File.WriteAllText(_authority, authority.ExportCertificatePem());

        using var key = RSA.Create(2048);
        var request = new CertificateRequest("CN=127.0.0.1", key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        var names = new SubjectAlternativeNameBuilder();
        names.AddIpAddress(IPAddress.Loopback);
        request.CertificateExtensions.Add(names.Build());
        using var signed = request.Create(authority, s_from, s_from.AddDays(20), [1, 2, 3, 4]);
        using var whole = signed.CopyWithPrivateKey(key);
        return X509CertificateLoader.LoadPkcs12(whole.Export(X509ContentType.Pfx), password: null);
    }
}
