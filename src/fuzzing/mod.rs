//! What is promised of everything that comes from outside, whatever it holds.
//!
//! One function per kind of input: it takes any bytes, reads them as the service does, and panics where a promise is
//! broken. Each states the promise a second time in its own words, so that a mistake in reading cannot hide in the
//! check. The fuzz targets in `fuzz/` call these functions with inputs of their making; the tests here call them with
//! the inputs kept in `fuzz/corpus`, so that a build without a fuzzer reads every one of them too.

mod frames;
mod json;
mod zip;

pub use self::frames::frames;
pub use self::json::json;
pub use self::zip::zip;
pub use crate::intake::fuzzing::{headers, query};

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    /// Reads every kept input of one target.
    fn replay(target: &str, read: fn(&[u8])) {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let mut inputs: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        inputs.sort();
        assert!(inputs.len() >= 10, "{} inputs in {}", inputs.len(), folder.display());
        for path in inputs {
            let input = fs::read(&path).unwrap();
            assert!(std::panic::catch_unwind(|| read(&input)).is_ok(), "{}", path.display());
        }
    }

    #[test]
    fn every_kept_stream_of_frames() {
        replay("frames", super::frames);
    }

    #[test]
    fn every_kept_archive() {
        replay("zip", super::zip);
    }

    #[test]
    fn every_kept_json() {
        replay("json", super::json);
    }

    #[test]
    fn every_kept_query() {
        replay("query", super::query);
    }

    #[test]
    fn every_kept_request() {
        replay("headers", super::headers);
    }
}
