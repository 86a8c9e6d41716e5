//! Any bytes are a pattern table or an error in a place of theirs.
#![no_main]

use byoc_plugin::table::PatternTable;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Err(error) = PatternTable::parse_bytes("fuzz.toml", data) {
        let lines = data.iter().filter(|byte| **byte == b'\n').count() + 1;
        assert!((1..=lines).contains(&error.line) && error.column >= 1, "{error}");
    }
});
