//! What would have to change for a reason to go away, in one sentence.

use byoc_plugin::table::{Pattern, PatternTable};

use crate::report::{Kind, Reason};

/// Advice on one reason that keeps a node of operator `op` from a vendor.
pub fn change(reason: &Reason, op: &str, tables: &[PatternTable]) -> String {
    let vendor = &reason.vendor;
    let pattern = reason.pattern.as_deref().unwrap_or("the pattern");
    let found = reason.pattern.as_deref().and_then(|name| find(tables, vendor, name));
    match reason.kind {
        Kind::NoPattern => format!("a pattern of {vendor} for {op}"),
        Kind::Structure => format!("a pattern of {vendor} for {op} as it stands here"),
        Kind::Attribute => format!("a `{pattern}` that leaves this attribute open, or another for its value"),
        Kind::Where => match found.and_then(|p| clause(p, &reason.detail)) {
            Some(clause) => format!("a `{pattern}` whose clause `{clause}` admits these values"),
            None => format!("a `{pattern}` whose clause admits these values"),
        },
        Kind::Escape => format!("`allow_taps = true` in `{pattern}`, or nobody outside who uses the value"),
        Kind::Cycle => format!("{vendor} taking the nodes on that path, too, or a shorter `{pattern}`"),
        Kind::Taken => match found {
            Some(p) => format!("a higher priority of `{pattern}`, which has {}", p.priority),
            None => "the other composite going elsewhere".to_owned(),
        },
        Kind::Limit => format!("a wider limit in {vendor}'s table, or a model that keeps it"),
        Kind::Cost => format!("{vendor} or the way to it becoming faster, or `--force NODE={vendor}`"),
        Kind::User => "leaving out the option that asks for it".to_owned(),
        Kind::Vendor => format!("{vendor}'s own check accepting it"),
        Kind::Compile => format!("{vendor}'s compiler taking it"),
    }
}

/// The clause of the pattern that a detail speaks of.
pub fn clause<'t>(pattern: &'t Pattern, detail: &str) -> Option<&'t str> {
    let quoted = detail.strip_prefix('`')?;
    let mut clauses = pattern.where_.iter().map(|c| c.text.as_str());
    clauses.find(|text| quoted.strip_prefix(text).is_some_and(|rest| rest.starts_with('`')))
}

pub fn find<'t>(tables: &'t [PatternTable], vendor: &str, pattern: &str) -> Option<&'t Pattern> {
    let table = tables.iter().find(|t| t.vendor.name == vendor)?;
    table.patterns.iter().find(|p| p.name == pattern)
}
