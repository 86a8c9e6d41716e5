//! Any text in a `match` is a pattern or an error within its string.
#![no_main]

use byoc_plugin::table::PatternTable;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // A literal string holds any text but its own quotes.
    let text = text.replace("'''", "");
    let table = format!("[vendor]\nname = \"a\"\n[[pattern]]\nname = \"p\"\nmatch = '''\n{text}'''\n");
    if let Err(error) = PatternTable::parse("fuzz.toml", &table) {
        assert!(error.line >= 5 && error.line <= table.lines().count(), "{error}");
    }
});
