//! Waiting for a condition.

use std::time::{Duration, Instant};

use anyhow::bail;

/// What has not come by then is a failure, not slowness.
const PATIENCE: Duration = Duration::from_secs(150);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Looks until there is something.
///
/// # Errors
/// When there is nothing in time, or looking fails.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
    let since = Instant::now();
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if since.elapsed() > PATIENCE {
            bail!("not within {} s: {what}", PATIENCE.as_secs());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Looks until something holds.
///
/// # Errors
/// As [`until`].
pub async fn until_holds(what: &str, mut holds: impl AsyncFnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    until(what, async || Ok(holds().await?.then_some(()))).await
}
