using System.Threading.Channels;

namespace InterpreterKernel.Broker;

/// <summary>One claim's place at the counter: first in the queue, then a slot. Made and changed by <see cref="Slots"/> only.</summary>
internal sealed class Ticket
{
    // Only the newest place matters to somebody who waits, so the pipe holds one.
    private readonly Channel<TicketNews> _news = Channel.CreateBounded<TicketNews>(
        new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropOldest, SingleReader = true });

    private TicketNews? _told;

    public Ticket(long number, int ceiling)
    {
        Number = number;
        Ceiling = ceiling;
    }

    /// <summary>Order of arrival. Kept when the service refuses the sandbox, so that the claim keeps its place.</summary>
    public long Number { get; }

    /// <summary>How many slots may be taken, this one included, by the claim's and the broker's configuration.</summary>
    public int Ceiling { get; }

    public TicketState State { get; set; }

    /// <summary>Granted beyond the learned limit, to find out whether it still holds.</summary>
    public bool IsProbe { get; set; }

    /// <summary>The slot of a spare: it is not counted as taken, since whoever needs it gets it.</summary>
    public bool IsSpare { get; init; }

    /// <summary>The place whenever it changes, and in the end the grant.</summary>
    public ChannelReader<TicketNews> News => _news.Reader;

    public void Tell(TicketNews news)
    {
        if (_told != news)
        {
            _told = news;
            _news.Writer.TryWrite(news);
        }
    }
}

internal enum TicketState
{
    Waiting,
    Granted,
    Left,
}

/// <param name="Granted">A slot is ours.</param>
/// <param name="Position">Else the place in the queue, from 1.</param>
/// <param name="Limit">The limit in force for this ticket.</param>
internal readonly record struct TicketNews(bool Granted, int Position, int Limit);
