using InterpreterKernel.Protocol.Relay;
using Microsoft.Extensions.Logging;

namespace InterpreterKernel.Kernel.Remote;

/// <summary>Acknowledgements, signs of life, and what is told of the connection.</summary>
internal sealed partial class RelayLink
{
    /// <summary>Silence for this many ping intervals ends an attachment.</summary>
    private const double SilentIntervals = 2;

    /// <summary>
    /// So does a ping unanswered for this many, although bytes come: then only our direction is broken. It is longer, because the answer
    /// may be behind a window of output on a slow line.
    /// </summary>
    private const double UnansweredIntervals = 5;

    /// <summary>Watches one attachment; returns or throws what is wrong with it.</summary>
    private async Task<string> WatchAsync(Task greeted, CancellationToken over)
    {
        try
        {
            await greeted.WaitAsync(_attachPatience, _time, over);
        }
        catch (TimeoutException)
        {
            return AttachTookTooLong("the relay's greeting");
        }

        using var timer = new PeriodicTimer(_options.PingInterval / 2, _time);
        try
        {
            lock (_pace)
            {
                _watch = timer;
                SetPace_NeedsLock();
            }

            return await LookAfterAsync(timer, over);
        }
        finally
        {
            lock (_pace)
            {
                _watch = null;
            }
        }
    }

    private async Task<string> LookAfterAsync(PeriodicTimer timer, CancellationToken over)
    {
        while (await timer.WaitForNextTickAsync(over))
        {
            var interval = _isResting ? _options.RestingPingInterval : _options.PingInterval;
            if (_readingPaused)
            {
                // The silence is ours: nobody takes what came.
                Volatile.Write(ref _lastHeard, _time.GetTimestamp());
                Volatile.Write(ref _pingSent, 0);
                continue;
            }

            var silence = _time.GetElapsedTime(Volatile.Read(ref _lastHeard));
            if (silence > interval * SilentIntervals)
            {
                return $"nothing was heard from the sandbox for {silence.TotalSeconds:0.#} s";
            }

            var pingSent = Volatile.Read(ref _pingSent);
            if (pingSent != 0 && _time.GetElapsedTime(pingSent) > interval * UnansweredIntervals)
            {
                return $"the sandbox did not answer for {_time.GetElapsedTime(pingSent).TotalSeconds:0.#} s";
            }

            var unanswered = _outbox.IsAwaitingAck && _time.GetElapsedTime(Volatile.Read(ref _lastAnswer)) >= interval;
            if (pingSent == 0 && (unanswered || silence >= interval))
            {
                Volatile.Write(ref _pingSent, Math.Max(1, _time.GetTimestamp()));
                _outbox.Answer(RelayCodec.Encode(RelayFrameKind.Ping, 0, []));
                Wake();
            }
        }

        return "the watch ended";
    }

    /// <summary>Something was sent, and an answer is awaited. The long silence before it was nobody's concern.</summary>
    private void Rouse()
    {
        if (!_isResting)
        {
            return;
        }

        lock (_pace)
        {
            if (!_isResting)
            {
                return;
            }

            var now = _time.GetTimestamp();
            Volatile.Write(ref _lastHeard, now);
            Volatile.Write(ref _lastAnswer, now);
            Volatile.Write(ref _pingSent, 0);
            _isResting = false;
            SetPace_NeedsLock();
        }
    }

    private void SetPace_NeedsLock() => _watch?.Period = (_isResting ? _options.RestingPingInterval : _options.PingInterval) / 2;

    /// <summary>After something was received or taken: wakes the writer when an ACK is due, at the latest after a moment.</summary>
    private void AcknowledgeSoon()
    {
        var now = _inbox.Acknowledgeable;
        if (IsAckDue(now))
        {
            Wake();
        }
        else if (now != _acked && Interlocked.Exchange(ref _ackTimerArmed, 1) == 0)
        {
            _ackTimer.Change(s_ackDelay, Timeout.InfiniteTimeSpan);
        }
    }

    private void OnAckDelayOver()
    {
        Volatile.Write(ref _ackTimerArmed, 0);
        _ackDelayOver = true;
        Wake();
    }

    private bool IsAckDue((ulong Bulk, ulong Urgent) now) =>
        now.Bulk - _acked.Bulk + (now.Urgent - _acked.Urgent) >= AckFrames || Interlocked.Read(ref _bytesSinceAck) >= AckBytes;

    /// <summary>For the writer: the ACK to send now, if one is due, or if it can go along with something else.</summary>
    private ReadOnlySpan<byte> TakeAck()
    {
        var now = _inbox.Acknowledgeable;
        if (now == _acked || !(_ackDelayOver || IsAckDue(now) || _outbox.HasWork))
        {
            return [];
        }

        _acked = now;
        _ackDelayOver = false;
        Interlocked.Exchange(ref _bytesSinceAck, 0);
        return RelayCodec.EncodeAck(now.Bulk, now.Urgent);
    }

    private void Wake() => _wake.Writer.TryWrite(true);

    private void Report(RelayConnection connection)
    {
        if (!connection.IsConnected && !Connection.IsConnected)
        {
            // Still away: only the reason is news.
            LogStillLost(connection.Reason ?? "");
            Connection = connection with { Since = Connection.Since };
            return;
        }

        if (connection.IsConnected)
        {
            LogConnected(LastHello?.RelayPid ?? 0, LastHello?.KernelState ?? "");
        }
        else
        {
            LogLost(connection.Reason ?? "");
        }

        Connection = connection;
        ConnectionChanged?.Invoke(connection);
    }

    [LoggerMessage(Level = LogLevel.Debug, Message = "The relay is connected (its pid {Pid}, kernel {State}).")]
    private partial void LogConnected(int pid, string state);

    [LoggerMessage(Level = LogLevel.Information, Message = "The connection to the sandbox was lost: {Reason}. Attaching again.")]
    private partial void LogLost(string reason);

    [LoggerMessage(Level = LogLevel.Debug, Message = "The sandbox can't be reached yet: {Reason}")]
    private partial void LogStillLost(string reason);

    [LoggerMessage(Level = LogLevel.Debug, Message = "The link ended ({Reason}): {Message}")]
    private partial void LogEnded(RelayLinkEndReason reason, string message);

    [LoggerMessage(Level = LogLevel.Trace, Message = "The loop of the link has stopped.")]
    private partial void LogStopped();

    /// <summary>One attachment is over; the link goes on.</summary>
    private sealed class AttachmentLostException(string message) : Exception(message);
}
