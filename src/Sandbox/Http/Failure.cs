using System.Net.Sockets;
using System.Text.Json;
using Google.Protobuf;
using InterpreterKernel.Protocol.Connect;

namespace InterpreterKernel.Sandbox.Http;

/// <summary>Turns what goes wrong into the exception that says so. All texts of failures are made here.</summary>
internal static class Failure
{
    /// <summary>
    /// An exception from HttpClient or from reading an answer. The caller's token is looked at first, then the deadline: a
    /// torn connection is often only the echo of a cancellation.
    /// </summary>
    /// <param name="e">What was thrown.</param>
    /// <param name="clock">The clock of the call.</param>
    /// <param name="doing">The call in words, such as "Creating a sandbox".</param>
    /// <param name="where">The address, as it may be shown.</param>
    /// <param name="after">What is known about the state of things after a timeout.</param>
    public static Exception Of(Exception e, CallClock clock, string doing, string where, string after = "Whether it took effect is not known.")
    {
        if (clock.Caller.IsCancellationRequested)
        {
            return e is OperationCanceledException own && own.CancellationToken == clock.Caller
                ? own
                : new OperationCanceledException($"{doing} was cancelled by its caller.", e, clock.Caller);
        }

        if (e is SandboxException)
        {
            return e;
        }

        return clock.IsOver
            ? new SandboxRequestTimeoutException(
                $"{doing} took longer than the request timeout of {Seconds(clock.Timeout)} at {where} and was cancelled. {after} Try again, or raise the request timeout.",
                clock.Timeout,
                e)
            : OfBrokenConnection(e, doing, where);
    }

    /// <summary>A connection that could not be made or that broke, or an answer that makes no sense.</summary>
    public static SandboxException OfBrokenConnection(Exception e, string doing, string where) => e switch
    {
        SandboxException own => own,
        JsonException or InvalidProtocolBufferException or EnvelopeException or InvalidDataException => new SandboxException(
            SandboxFault.Protocol,
            $"{doing} failed: the answer from {where} is not what the protocol says ({e.Message}). Is this the address of an E2B-compatible service?",
            e),
        HttpRequestException { HttpRequestError: HttpRequestError.NameResolutionError } => Unreachable(
            $"{doing} failed: the name of {where} can't be resolved. Check the address and the network.", e),
        HttpRequestException { HttpRequestError: HttpRequestError.SecureConnectionError } => Unreachable(
            $"{doing} failed: no trusted TLS connection to {where} ({Innermost(e).Message}). A private certificate authority can be given in the connection.", e),
        HttpRequestException { HttpRequestError: HttpRequestError.ProxyTunnelError } => Unreachable(
            $"{doing} failed: the proxy does not let us through to {where} ({e.Message}). Check HTTPS_PROXY and NO_PROXY.", e),
        _ when NeverSent(e) => Unreachable(
            $"{doing} failed: {where} can't be reached ({Innermost(e).Message}). Nothing was sent. Is the service running, and is the address right?", e),
        HttpRequestException { HttpRequestError: HttpRequestError.InvalidResponse or HttpRequestError.ConfigurationLimitExceeded } => new SandboxException(
            SandboxFault.Protocol, $"{doing} failed: {where} did not answer with HTTP/1.1 ({e.Message}).", e),
        _ => Unreachable($"{doing} failed: the connection to {where} broke ({Innermost(e).Message}). Whether it took effect is not known.", e),
    };

    /// <summary>True when the request can't have had any effect.</summary>
    public static bool NeverSent(Exception e) =>
        e is HttpRequestException
        {
            HttpRequestError: HttpRequestError.NameResolutionError or HttpRequestError.ConnectionError
                or HttpRequestError.SecureConnectionError or HttpRequestError.ProxyTunnelError
        }
        || (e is HttpRequestException && Innermost(e) is SocketException { SocketErrorCode: SocketError.ConnectionRefused or SocketError.AddressNotAvailable });

    /// <summary>An error status of the control plane.</summary>
    public static SandboxException OfControlPlane(ServiceAnswer answer, string doing, string where, SandboxSecrets secrets)
    {
        var words = ServiceWords.Of(answer.Body, secrets);
        var (reason, advice) = answer.Status switch
        {
            401 => (SandboxFault.Authentication, "Check the API key (E2B_API_KEY) and that it belongs to this service."),
            403 => (SandboxFault.Forbidden, "The key is known but may not do this; ask the owner of the account."),
            404 => (SandboxFault.NotFound, "It never existed, has ended, or belongs to another account."),
            409 => (SandboxFault.Conflict, "Its state does not allow this now; try again when it has changed."),
            429 when answer.RetryAfter is { } pause => (SandboxFault.RateLimited, $"Too many requests: try again in {Seconds(pause)}."),
            429 => (SandboxFault.ConcurrencyLimit, "All sandboxes that may run at once are running: kill one, or wait until one ends."),
            503 => (SandboxFault.ServiceBusy, "The service has no capacity now; try again later."),
            507 => (SandboxFault.OutOfSpace, "There is no room left."),
            >= 300 and < 400 => (SandboxFault.Protocol, "Redirects are not followed, because the key would travel along; use the final address."),
            >= 400 and < 500 => (SandboxFault.InvalidRequest, "The service does not take the request as it is."),
            _ => (SandboxFault.ServiceError, "The service failed; try again later."),
        };
        return new SandboxException(reason, $"{doing} failed: {words.Message ?? "no reason was given"} (HTTP {answer.Status} from {where}). {advice}")
        {
            HttpStatus = answer.Status,
            RetryAfter = answer.RetryAfter,
            ServiceMessage = words.Message,
            ErrorCode = words.Code,
        };
    }

    /// <summary>An error status of envd, or of the edge in front of it.</summary>
    public static SandboxException OfEnvd(ServiceAnswer answer, string doing, string sandboxId, string where, SandboxSecrets secrets)
    {
        var words = ServiceWords.Of(answer.Body, secrets);
        if (answer.Status == 502 && words is { NamesSandbox: true, NamesPort: false })
        {
            return Lost(sandboxId, doing, words.Message);
        }

        // envd answers a refused token, and its /files route all errors, with a numeric code; a Connect error has a word.
        if (words.NumericCode is null && ConnectError.TryParse(answer.Body) is { } error)
        {
            return OfConnect(error, doing, answer.Status, secrets);
        }

        var (reason, advice) = answer.Status switch
        {
            400 => (SandboxFault.InvalidRequest, "The sandbox does not take the request as it is."),
            401 => (SandboxFault.Authentication, "The access token or the user is not accepted by this sandbox."),
            403 => (SandboxFault.Forbidden, "The sandbox does not allow this."),
            404 => (SandboxFault.NotFound, "Check the path."),
            409 => (SandboxFault.Conflict, "The sandbox is changing its state; try again."),
            429 when answer.RetryAfter is { } pause => (SandboxFault.RateLimited, $"Too many requests: try again in {Seconds(pause)}."),
            429 => (SandboxFault.ConcurrencyLimit, "Too many sandboxes, or too many connections to this one."),
            501 => (SandboxFault.Unsupported, "This sandbox does not have the call."),
            507 => (SandboxFault.OutOfSpace, "The disk of the sandbox is full; remove something."),
            502 or 503 or 504 => (SandboxFault.Unreachable, "The sandbox does not answer now; it may still be running."),
            _ => (SandboxFault.ServiceError, "The sandbox's own service failed."),
        };
        return new SandboxException(reason, $"{doing} failed: {words.Message ?? "no reason was given"} (HTTP {answer.Status} from {where}). {advice}")
        {
            HttpStatus = answer.Status,
            RetryAfter = answer.RetryAfter,
            ServiceMessage = words.Message,
            ErrorCode = words.Code,
        };
    }

    /// <summary>An error in Connect's own form, in a body or at the end of a stream.</summary>
    public static SandboxException OfConnect(ConnectError error, string doing, int? status, SandboxSecrets secrets)
    {
        var said = ServiceWords.Clean(error.Message, secrets);
        var text = $"{doing} failed: {said ?? "no reason was given"} ({error.CodeName}).";
        if (error.Code == ConnectCode.DeadlineExceeded)
        {
            return new ExecutionTimeoutException(
                $"{doing}: the execution timeout ran out and the sandbox killed the process. Processes that it had started may still run.", null, stopped: false)
            {
                HttpStatus = status,
                ServiceMessage = said,
                ErrorCode = error.CodeName,
            };
        }

        var reason = error.Code switch
        {
            ConnectCode.InvalidArgument or ConnectCode.OutOfRange => SandboxFault.InvalidRequest,
            ConnectCode.NotFound => SandboxFault.NotFound,
            ConnectCode.AlreadyExists or ConnectCode.FailedPrecondition or ConnectCode.Aborted => SandboxFault.Conflict,
            ConnectCode.PermissionDenied => SandboxFault.Forbidden,
            ConnectCode.ResourceExhausted => SandboxFault.ServiceBusy,
            ConnectCode.Unimplemented => SandboxFault.Unsupported,
            ConnectCode.Unavailable or ConnectCode.Canceled => SandboxFault.Unreachable,
            ConnectCode.Unauthenticated => SandboxFault.Authentication,
            _ => SandboxFault.ServiceError,
        };
        return new SandboxException(reason, text) { HttpStatus = status, ServiceMessage = said, ErrorCode = error.CodeName };
    }

    public static SandboxLostException Lost(string sandboxId, string doing, string? said, Exception? inner = null) =>
        new(
            sandboxId,
            $"{doing} failed: sandbox {sandboxId} is gone{(said is null ? "" : $" ({said})")}. It was killed or came to the end of its lifetime; its processes and files are lost. Create a new one.",
            inner)
        {
            HttpStatus = 502,
            ServiceMessage = said,
        };

    public static SandboxException Unreachable(string message, Exception? inner = null) =>
        new(SandboxFault.Unreachable, message, inner) { NeverSent = inner is not null && NeverSent(inner) };

    public static string Seconds(TimeSpan time) =>
        time == Timeout.InfiniteTimeSpan ? "no limit" : string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{time.TotalSeconds:0.###} s");

    private static Exception Innermost(Exception e) => e.GetBaseException();
}
