//! How long to wait in a burst: Cegid asks for few calls, and one call fetches many subjects.

use std::time::Duration;

use crate::{arrivals::Burst, settings};

/// How long still to wait before the queue is read. A lone callback is not made to wait; a burst is waited for until
/// it pauses, within a limit that is longer while it repeats the same subjects, since waiting then saves the most.
pub fn linger(burst: &Burst, settings: &settings::Worker) -> Duration {
    let (quiet, age) = (positive(burst.quiet), positive(burst.age));
    if burst.callbacks == 1 && positive(burst.lull) > settings.linger {
        return Duration::ZERO;
    }
    // More than five callbacks for four subjects.
    let repeats = burst.callbacks * 4 > burst.subjects * 5;
    let limit = if repeats { settings.linger_repeats_limit } else { settings.linger_limit };
    settings.linger.saturating_sub(quiet).min(limit.saturating_sub(age))
}

fn positive(time: chrono::TimeDelta) -> Duration {
    time.to_std().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    fn wait(callbacks: usize, subjects: usize, age: i64, quiet: i64, lull: i64) -> u128 {
        let settings =
            settings::Settings::load(None, [("CEGID_INDEXER__DATABASE__URL".into(), "postgres://x/y".into())]);
        let millis = TimeDelta::milliseconds;
        let burst = Burst { callbacks, subjects, age: millis(age), quiet: millis(quiet), lull: millis(lull) };
        linger(&burst, &settings.unwrap().worker).as_millis()
    }

    #[test]
    fn a_lone_callback_goes_at_once() {
        assert_eq!(wait(1, 1, 0, 0, 100), 0);
    }

    #[test]
    fn a_burst_is_waited_for_until_it_pauses() {
        assert_eq!(wait(1, 1, 0, 0, 5), 25);
        assert_eq!(wait(10, 10, 40, 5, 5), 20);
        assert_eq!(wait(10, 10, 40, 25, 5), 0);
    }

    #[test]
    fn a_burst_without_a_pause_is_waited_for_within_a_limit() {
        assert_eq!(wait(100, 100, 240, 0, 5), 10);
        assert_eq!(wait(100, 100, 250, 0, 5), 0);
        assert_eq!(wait(100, 50, 250, 0, 5), 25);
        assert_eq!(wait(1000, 50, 2000, 0, 5), 0);
    }

    fn settings(millis: [u64; 3]) -> settings::Worker {
        let url = [("CEGID_INDEXER__DATABASE__URL".into(), "postgres://x/y".into())];
        let mut worker = settings::Settings::load(None, url).unwrap().worker;
        [worker.linger, worker.linger_limit, worker.linger_repeats_limit] = millis.map(Duration::from_millis);
        worker
    }

    proptest! {
        #[test]
        fn a_wait_is_bounded_and_never_longer_the_later_it_is_asked_for(
            callbacks in 1..1_000_000_usize,
            subjects in 1..1_000_000_usize,
            (linger_for, limit, repeats) in (0..5000_u64, 0..5000_u64, 0..5000_u64),
            // Times are negative where the clock was put back.
            (age, quiet, lull) in (-100_000..100_000_i64, -100_000..100_000_i64, any::<i32>()),
            later in 0..10_000_i64,
        ) {
            let settings = settings([linger_for, limit, repeats]);
            let millis = TimeDelta::milliseconds;
            let subjects = subjects.min(callbacks);
            let lull = if lull == 0 { TimeDelta::MAX } else { millis(i64::from(lull)) };
            let burst = Burst { callbacks, subjects, age: millis(age), quiet: millis(quiet), lull };
            let wait = linger(&burst, &settings);
            prop_assert!(wait <= settings.linger);
            prop_assert!(wait + positive(burst.age) <= settings.linger_limit.max(settings.linger_repeats_limit) || wait.is_zero());
            let after = Burst { age: millis(age + later), quiet: millis(quiet + later), ..burst };
            prop_assert!(linger(&after, &settings) <= wait);
            let more = Burst { callbacks: callbacks + 1, ..burst };
            prop_assert!(callbacks == 1 || limit > repeats || linger(&more, &settings) >= wait);
        }
    }
}
