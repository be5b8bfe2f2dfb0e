using System.Text;
using InterpreterKernel.Protocol.Connect;

namespace InterpreterKernel.Protocol.Tests.Connect;

public sealed class ConnectErrorTests
{
    [Fact]
    public void Every_code_has_its_own_name_and_is_found_by_it()
    {
        var codes = Enum.GetValues<ConnectCode>();

        codes.Select(ConnectError.NameOf).Distinct().Count().ShouldBe(codes.Length);
        foreach (var code in codes)
        {
            ConnectError.CodeOf(ConnectError.NameOf(code)).ShouldBe(code);
            new ConnectError(code, "").HttpStatus.ShouldBeInRange(400, 504);
        }
    }

    [Fact]
    public void The_JSON_is_that_of_the_protocol()
    {
        var error = new ConnectError(ConnectCode.NotFound, "no process 7");

        Encoding.UTF8.GetString(error.ToJson()).ShouldBe("""{"code":"not_found","message":"no process 7"}""");
        ConnectError.TryParse(error.ToJson()).ShouldBe(error);
    }

    [Theory]
    [InlineData("")]
    [InlineData("<html>")]
    [InlineData("[]")]
    [InlineData("""{"code":404}""")]
    [InlineData("""{"message":"x"}""")]
    public void Other_bodies_are_no_errors_of_the_protocol(string body)
        => ConnectError.TryParse(Encoding.UTF8.GetBytes(body)).ShouldBeNull();

    [Theory]
    [InlineData(404, "<html>", ConnectCode.Unimplemented, "HTTP status 404")]
    [InlineData(401, """{"code":401,"message":"no token"}""", ConnectCode.Unauthenticated, "no token")]
    [InlineData(503, "", ConnectCode.Unavailable, "HTTP status 503")]
    [InlineData(418, "", ConnectCode.Unknown, "HTTP status 418")]
    [InlineData(500, """{"code":"internal","message":"m"}""", ConnectCode.Internal, "m")]
    [InlineData(200, """{"code":"brand_new"}""", ConnectCode.Unknown, "")]
    public void A_failed_answer_is_read_by_its_body_and_else_by_its_status(int status, string body, ConnectCode code, string message)
        => ConnectError.FromHttp(status, Encoding.UTF8.GetBytes(body)).ShouldBe(new ConnectError(code, message));
}
