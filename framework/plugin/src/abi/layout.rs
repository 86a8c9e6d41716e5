//! The layout of the interface as text, by which versions are compared.

use std::fmt::Write;

use super::{CONSTANTS, ENTRY_SYMBOL, EPOCH, MINOR, STRUCTS, StructLayout, section};

/// The entry, the section, the numbers by their names, and size, fields and offsets of every struct.
pub fn layout_text() -> String {
    let mut text = format!("epoch {EPOCH}\nminor {MINOR}\nentry {ENTRY_SYMBOL}\n");
    let magic: String = section::MAGIC.iter().map(|byte| format!("{byte:02x}")).collect();
    let _ = writeln!(text, "section {} magic {magic} header {}", section::NAME, section::HEADER);
    for constant in CONSTANTS.iter().copied().flatten() {
        let _ = writeln!(text, "constant {} {}", constant.name, constant.value);
    }
    for layout in STRUCTS.iter().copied().flatten() {
        let StructLayout { name, size, min_size, align, .. } = layout;
        let _ = writeln!(text, "{name} size {size} first {min_size} align {align}");
        for field in layout.fields {
            let _ = writeln!(text, "  {:>3} {}: {}", field.offset, field.name, field.ty);
        }
    }
    text
}
