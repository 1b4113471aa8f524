//! Hours of the day in which bulk work is allowed, by the tenant's own clock.

use chrono::{DateTime, Days, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Deserializer, de::Error};

/// From one time of the day to another, over midnight when the second is the earlier one; or always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hours(Option<(NaiveTime, NaiveTime)>);

impl Hours {
    /// From text such as `20:00-06:00`; empty text means always.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(text: &str) -> Result<Hours, &'static str> {
        const FORM: &str = "must be empty or two times of the day, such as \"20:00-06:00\"";
        if text.trim().is_empty() {
            return Ok(Hours(None));
        }
        let time = |text: &str| NaiveTime::parse_from_str(text.trim(), "%H:%M").map_err(|_| FORM);
        let (from, to) = text.split_once('-').ok_or(FORM)?;
        let (from, to) = (time(from)?, time(to)?);
        if from == to {
            return Err("must not begin and end at the same time: leave it empty for always");
        }
        Ok(Hours(Some((from, to))))
    }

    /// How much of a day is allowed, from 0 to 1.
    pub fn share(&self) -> f64 {
        let Some((from, to)) = self.0 else { return 1.0 };
        let day = TimeDelta::days(1);
        let length = if from < to { to - from } else { day - (from - to) };
        length.as_seconds_f64() / day.as_seconds_f64()
    }

    /// Whether bulk work may begin now.
    pub fn allowed(&self, now: DateTime<Utc>, zone: Tz) -> bool {
        let Some((from, to)) = self.0 else { return true };
        let time = now.with_timezone(&zone).time();
        if from < to { from <= time && time < to } else { time >= from || time < to }
    }

    /// When it may next begin: `now` when it is allowed.
    pub fn next_start(&self, now: DateTime<Utc>, zone: Tz) -> DateTime<Utc> {
        let Some((from, _)) = self.0.filter(|_| !self.allowed(now, zone)) else { return now };
        let today = now.with_timezone(&zone).date_naive();
        // A day of which the zone has left out the whole is passed over: some islands have crossed the date line so.
        (0..4)
            .filter_map(|days| today.checked_add_days(Days::new(days)))
            .flat_map(|day| starts(day, from, zone))
            .find(|start| *start > now && self.allowed(*start, zone))
            .unwrap_or(now)
    }
}

/// The instants at which the clocks of the zone show this time: two when they are put back over it, and where they skip
/// it, that of the first later minute of the day.
fn starts(day: NaiveDate, time: NaiveTime, zone: Tz) -> Vec<DateTime<Utc>> {
    let mut local: NaiveDateTime = day.and_time(time);
    while local.date() == day {
        match zone.from_local_datetime(&local) {
            LocalResult::Single(at) => return vec![at.with_timezone(&Utc)],
            LocalResult::Ambiguous(first, second) => {
                return vec![first.with_timezone(&Utc), second.with_timezone(&Utc)];
            }
            LocalResult::None => local += TimeDelta::minutes(1),
        }
    }
    Vec::new()
}

impl<'de> Deserialize<'de> for Hours {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Hours, D::Error> {
        Hours::parse(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// A time zone by its name; none when it is not known.
pub(super) fn zone<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Tz>, D::Error> {
    let name = String::deserialize(from)?;
    if name.is_empty() {
        return Ok(None);
    }
    name.parse()
        .map(Some)
        .map_err(|_| D::Error::custom("not a time zone: use a name such as \"Europe/Paris\" or \"UTC\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARIS: Tz = Tz::Europe__Paris;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn next(hours: &str, now: &str) -> String {
        let start = Hours::parse(hours).unwrap().next_start(at(now), PARIS);
        start.with_timezone(&PARIS).format("%d %H:%M %z").to_string()
    }

    #[test]
    fn hours_over_midnight_are_those_of_the_tenants_clock() {
        let night = Hours::parse("20:00-06:00").unwrap();
        // 19:59, 20:00, 05:59 and 06:00 in Paris, in winter.
        assert!(!night.allowed(at("2026-01-15T18:59:59Z"), PARIS));
        assert!(night.allowed(at("2026-01-15T19:00:00Z"), PARIS));
        assert!(night.allowed(at("2026-01-16T04:59:59Z"), PARIS));
        assert!(!night.allowed(at("2026-01-16T05:00:00Z"), PARIS));
        // The same hours begin an hour earlier by UTC in summer.
        assert!(night.allowed(at("2026-07-15T18:00:00Z"), PARIS));
        assert!(!night.allowed(at("2026-07-15T18:00:00Z"), Tz::UTC));
    }

    #[test]
    fn the_share_of_a_day_counts_over_midnight() {
        let share = |hours| Hours::parse(hours).unwrap().share();
        assert_eq!((share(""), share("20:00-06:00"), share("06:00-18:00")), (1.0, 10.0 / 24.0, 0.5));
    }

    #[test]
    fn hours_within_a_day_end_before_their_last_minute() {
        let noon = Hours::parse("12:00-13:30").unwrap();
        assert!(noon.allowed(at("2026-01-15T12:29:00Z"), PARIS));
        assert!(!noon.allowed(at("2026-01-15T12:30:00Z"), PARIS));
        assert!(!noon.allowed(at("2026-01-15T10:59:00Z"), PARIS));
    }

    #[test]
    fn without_hours_everything_is_allowed_at_once() {
        let now = at("2026-01-15T12:29:00Z");
        assert!(Hours::default().allowed(now, PARIS));
        assert_eq!(Hours::parse(" ").unwrap().next_start(now, PARIS), now);
    }

    #[test]
    fn the_next_start_is_today_or_tomorrow_or_now() {
        assert_eq!(next("20:00-06:00", "2026-01-15T11:00:00Z"), "15 20:00 +0100");
        assert_eq!(next("02:00-04:00", "2026-01-15T11:00:00Z"), "16 02:00 +0100");
        assert_eq!(next("20:00-06:00", "2026-01-15T22:00:00Z"), "15 23:00 +0100");
    }

    #[test]
    fn a_start_that_the_clocks_skip_is_the_first_minute_after_it() {
        // In the night to 29 March 2026 the clocks of Paris go from 02:00 to 03:00.
        assert_eq!(next("02:30-05:00", "2026-03-28T20:00:00Z"), "29 03:00 +0200");
        let hours = Hours::parse("02:30-05:00").unwrap();
        assert!(hours.allowed(at("2026-03-29T01:00:00Z"), PARIS));
        // Hours that the clocks skip whole are those of the next day.
        assert_eq!(next("02:10-02:50", "2026-03-28T20:00:00Z"), "30 02:10 +0200");
    }

    #[test]
    fn a_start_that_comes_twice_is_the_first_of_the_two() {
        // In the night to 25 October 2026 the clocks of Paris go from 03:00 back to 02:00.
        assert_eq!(next("02:30-05:00", "2026-10-24T20:00:00Z"), "25 02:30 +0200");
        let hours = Hours::parse("02:30-02:45").unwrap();
        assert!(hours.allowed(at("2026-10-25T00:30:00Z"), PARIS));
        assert!(!hours.allowed(at("2026-10-25T01:00:00Z"), PARIS));
        assert!(hours.allowed(at("2026-10-25T01:30:00Z"), PARIS));
        // Between the two, the second is the next one.
        assert_eq!(next("02:30-02:45", "2026-10-25T01:00:00Z"), "25 02:30 +0100");
    }

    #[test]
    fn what_is_no_hours_is_refused() {
        for text in ["20", "20:00", "20:00-", "25:00-06:00", "06:00-06:00", "20:00–06:00", "8pm-6am"] {
            assert!(Hours::parse(text).is_err(), "{text}");
        }
    }
}
