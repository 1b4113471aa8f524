//! A stream that brings next to nothing is ended: a drip-feed must not hold a call open until its time is up.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, timeout};

/// Ends a stream with an error once what it brought in a stretch of waiting was less than `least` bytes a second. Time
/// in which nobody waits for it does not count.
pub(super) fn brisk<S, E>(
    stream: S,
    least: u64,
    over: Duration,
    slow: impl Fn() -> E,
) -> impl stream::Stream<Item = Result<bytes::Bytes, E>>
where
    S: stream::Stream<Item = Result<bytes::Bytes, E>> + Unpin,
{
    let wanted = (least as f64 * over.as_secs_f64()) as u64;
    stream::unfold(
        (stream, over, 0_u64, slow, false),
        move |(mut stream, mut left, mut came, slow, ended)| async move {
            if ended {
                return None;
            }
            loop {
                let since = Instant::now();
                match timeout(left, stream.next()).await {
                    Ok(next) => {
                        left = left.saturating_sub(since.elapsed());
                        came += next.as_ref().and_then(|next| next.as_ref().ok()).map_or(0, |chunk| chunk.len() as u64);
                        return next.map(|next| (next, (stream, left, came, slow, false)));
                    }
                    Err(_) if came < wanted => return Some((Err(slow()), (stream, left, came, slow, true))),
                    Err(_) => (left, came) = (over, 0),
                }
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a stream of chunks with pauses before them comes to: bytes, and whether it was too slow.
    async fn read(chunks: &[(u64, usize)], least: u64) -> (usize, bool) {
        let chunks = stream::iter(chunks.to_vec()).then(|(pause, size)| async move {
            tokio::time::sleep(Duration::from_secs(pause)).await;
            Ok::<_, &str>(bytes::Bytes::from(vec![0; size]))
        });
        let read = brisk(Box::pin(chunks), least, Duration::from_secs(60), || "slow");
        let mut read = std::pin::pin!(read);
        let mut bytes = 0;
        while let Some(next) = read.next().await {
            match next {
                Ok(chunk) => bytes += chunk.len(),
                Err(_) => return (bytes, true),
            }
        }
        (bytes, false)
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_cut_when_it_brings_too_little_in_a_minute() {
        assert_eq!(read(&[(1, 1); 100], 1024).await, (60, true));
        assert_eq!(read(&[(1, 1024); 100], 1000).await, (102_400, false));
        // Slow at the end of a minute that brought enough, and too slow in the next.
        assert!(read(&[(1, 100_000), (100, 1), (30, 1)], 1000).await.1);
        assert_eq!(read(&[(1, 100_000), (100, 1)], 0).await, (100_001, false));
        assert_eq!(read(&[(50, 1)], 1024).await, (1, false));
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_reads_does_not_count() {
        let chunks = stream::iter(vec![Ok::<_, &str>(bytes::Bytes::from_static(b"x")); 10]);
        let mut read = std::pin::pin!(brisk(chunks, 1024, Duration::from_secs(60), || "slow"));
        while let Some(next) = read.next().await {
            assert!(next.is_ok());
            tokio::time::sleep(Duration::from_secs(50)).await;
        }
    }
}
