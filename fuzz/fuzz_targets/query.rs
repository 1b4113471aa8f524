#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| cegid_indexer::fuzzing::query(input));
