namespace InterpreterKernel.Sandbox.Http;

internal static class UserAgent
{
    private static readonly string s_text = "interpreter-kernel/" + (typeof(UserAgent).Assembly.GetName().Version?.ToString(3) ?? "0");

    public static void AddTo(HttpRequestMessage request) => request.Headers.TryAddWithoutValidation("User-Agent", s_text);
}
