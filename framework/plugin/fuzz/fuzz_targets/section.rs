//! Any bytes are a plugin's section or an error.
#![no_main]

use byoc_plugin::abi::section::Section;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = Section::decode(data);
});
