using System.Text;
using InterpreterKernel.Kernel.Configuration;

namespace InterpreterKernel.Kernel.Magics;

/// <summary>One <c>%sandbox</c> line, understood.</summary>
internal abstract record MagicLine
{
    /// <summary>What there is, for <c>%sandbox</c> alone and behind each usage error.</summary>
    public const string Usage =
        """
        %sandbox                            this list
        %sandbox info                       the sandbox of this notebook: its id, age, memory, lease, limits
        %sandbox put LOCAL [REMOTE]         copy a file or folder of this machine into the sandbox
        %sandbox get REMOTE [LOCAL]         copy a file or folder of the sandbox to this machine
        %sandbox timeout [DURATION|none]    show or set how long a cell of this kernel may run
        %sandbox restart --fresh            a new sandbox: variables and files are gone
        %%timeout DURATION                  how long this one cell may run

        They stand at the top of a cell; the rest of the cell runs after them. LOCAL paths start at the notebook's folder,
        REMOTE ones at the sandbox's home; put names with spaces in "quotes". docs/magics.md has the details.
        """;

    /// <summary>Reads what stands behind <c>%sandbox</c>.</summary>
    /// <exception cref="MagicException">It is none of ours; the text says what is.</exception>
    public static MagicLine Parse(string text)
    {
        var words = Words(text);
        return words switch
        {
            [] or ["help"] or ["--help"] => new Help(),
            ["info"] => new Info(),
            ["put", var local] => new Put(Path(local), null),
            ["put", var local, var remote] => new Put(Path(local), Path(remote)),
            ["get", var remote] => new Get(Path(remote), null),
            ["get", var remote, var local] => new Get(Path(remote), Path(local)),
            ["timeout"] => new Timeout(false, null),
            ["timeout", Duration.None] => new Timeout(true, null),
            ["timeout", var duration] => Duration.TryParse(duration, out var time)
                ? new Timeout(true, time)
                : throw Wrong($"'{Short(duration)}' is no duration such as 30s, 5m or none"),
            ["restart", "--fresh"] => new Restart(),
            ["restart", ..] => throw Wrong("'restart' takes --fresh: it gives a new sandbox, without variables and files. To keep the files, restart the kernel"),
            ["put", ..] => throw Wrong("'put' takes LOCAL and perhaps REMOTE"),
            ["get", ..] => throw Wrong("'get' takes REMOTE and perhaps LOCAL"),
            [var unknown, ..] => throw Wrong($"there is no '{Short(unknown)}', or not with these arguments"),
        };
    }

    private static string Path(string word) =>
        word.Length > 0 && !word.Contains('\0', StringComparison.Ordinal) ? word : throw Wrong("a path is empty or holds a NUL");

    private static MagicException Wrong(string what) => new("SandboxMagicError", $"%sandbox: {what}.\n\n{Usage}");

    private static string Short(string text) => text.Length > 60 ? text[..60] + "…" : text;

    /// <summary>Words, as a shell would cut them, but without escapes: a backslash is part of names on Windows.</summary>
    private static List<string> Words(string text)
    {
        List<string> words = [];
        StringBuilder? word = null;
        char? quote = null;
        foreach (var c in text)
        {
            if (quote is not null)
            {
                if (c == quote)
                {
                    quote = null;
                }
                else
                {
                    word!.Append(c);
                }
            }
            else if (c is '"' or '\'')
            {
                quote = c;
                word ??= new StringBuilder();
            }
            else if (char.IsWhiteSpace(c))
            {
                if (word is not null)
                {
                    words.Add(word.ToString());
                    word = null;
                }
            }
            else
            {
                (word ??= new StringBuilder()).Append(c);
            }
        }

        if (quote is not null)
        {
            throw Wrong($"a {quote} is not closed");
        }

        if (word is not null)
        {
            words.Add(word.ToString());
        }

        return words;
    }

    /// <summary>Shows what there is.</summary>
    public sealed record Help : MagicLine;

    /// <summary>Shows the sandbox.</summary>
    public sealed record Info : MagicLine;

    /// <summary>Copies into the sandbox.</summary>
    public sealed record Put(string Local, string? Remote) : MagicLine;

    /// <summary>Copies out of it.</summary>
    public sealed record Get(string Remote, string? Local) : MagicLine;

    /// <summary>Shows or sets the limit of this kernel's cells.</summary>
    public sealed record Timeout(bool IsSet, TimeSpan? Limit) : MagicLine;

    /// <summary>Replaces the sandbox.</summary>
    public sealed record Restart : MagicLine;
}

/// <summary>A magic that could not be done: an ordinary error of the cell.</summary>
internal sealed class MagicException : Exception
{
    /// <summary>Makes it.</summary>
    /// <param name="name">The error's name in the cell.</param>
    /// <param name="message">What happened and what to do.</param>
    /// <param name="inner">What it was caused by.</param>
    public MagicException(string name, string message, Exception? inner = null)
        : base(message, inner) => Name = name;

    /// <summary>The error's name in the cell.</summary>
    public string Name { get; }
}
