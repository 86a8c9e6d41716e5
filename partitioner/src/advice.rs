//! What would have to change for a reason to go away, in one sentence.

use byoc_plugin::table::{Pattern, PatternTable};

use crate::report::{Ahead, Kind, Reason, Rival};

/// Advice on one reason that keeps a node, given by name and operator, from a vendor.
pub fn change(reason: &Reason, node: (&str, &str), tables: &[PatternTable]) -> String {
    match (reason.kind, &reason.rival) {
        (Kind::Taken, Some(rival)) => go_before(reason, rival, node, tables),
        _ => of_kind(reason, node, tables),
    }
}

fn of_kind(reason: &Reason, (node, op): (&str, &str), tables: &[PatternTable]) -> String {
    let vendor = &reason.vendor;
    let pattern = reason.pattern.as_deref().unwrap_or("the pattern");
    let found = reason.pattern.as_deref().and_then(|name| find(tables, vendor, name));
    match reason.kind {
        Kind::NoPattern => format!("a pattern of {vendor} for {op}"),
        Kind::Structure => format!("a pattern of {vendor} for {op} as it stands here"),
        Kind::Attribute => {
            format!("`{pattern}` leaving this attribute open, or another pattern for its value")
        }
        Kind::Where => match found.and_then(|p| clause(p, &reason.detail)) {
            Some(clause) => format!("`{pattern}`'s clause `{clause}` admitting these values"),
            None => format!("clauses of `{pattern}` that admit these values"),
        },
        Kind::Escape => format!("`allow_taps = true` in `{pattern}`, or nobody outside who uses the value"),
        Kind::Cycle => format!("{vendor} taking the nodes on that path, too, or a shorter `{pattern}`"),
        Kind::Taken => "the other composite going elsewhere, as in an edited plan".to_owned(),
        Kind::Limit => limit(vendor, &reason.detail),
        Kind::Cost => format!("{vendor} or the way to it becoming faster, or `--force {node}={vendor}`"),
        Kind::User => "leaving out the option, marker or step of the plan that asks for it".to_owned(),
        Kind::Vendor => format!("{vendor}'s own check accepting it"),
        Kind::Compile => format!("{vendor}'s compiler taking it"),
    }
}

/// The way past what has the node that was wanted.
fn go_before(reason: &Reason, rival: &Rival, node: (&str, &str), tables: &[PatternTable]) -> String {
    let pattern = reason.pattern.as_deref().unwrap_or("the pattern");
    let Rival { vendor, pattern: theirs, root, node: wanted, ahead, besides } = rival;
    let force = match *vendor != reason.vendor {
        true => format!(", or `--force {wanted}={}`", reason.vendor),
        false => String::new(),
    };
    let way = match ahead {
        Ahead::Forced => format!("leaving out what forces the match at `{root}` to {vendor}"),
        Ahead::Cost => format!("`{pattern}` costing less than `{theirs}` there{force}"),
        Ahead::SamePattern => format!("an edited plan that places it instead of the match at `{root}`"),
        Ahead::Priority(priority) => match priority.checked_add(1) {
            Some(_) => {
                let has = |p: &Pattern| p.priority == *priority;
                let is_theirs = find(tables, vendor, theirs).is_some_and(has);
                let whose = if is_theirs { format!(", which `{theirs}` has") } else { String::new() };
                format!("a priority of `{pattern}` above {priority}{whose}{force}")
            }
            None => format!("a priority of `{theirs}` below that of `{pattern}`{force}"),
        },
    };
    match besides {
        None => way,
        Some((kind, detail)) => {
            let next = Reason::new(&reason.vendor, reason.pattern.as_deref(), *kind, detail.as_str());
            // Of a path nothing has been said yet.
            let why = if *kind == Kind::Cycle { format!(", since {detail}") } else { String::new() };
            format!("{way}, and then {}{why}", of_kind(&next, node, tables))
        }
    }
}

/// Limits are named in the words about them.
fn limit(vendor: &str, detail: &str) -> String {
    let of_table = ["max_region_nodes", "max_regions", "min_region_nodes", "require_compute"];
    match of_table.into_iter().find(|limit| detail.contains(limit)) {
        Some("require_compute") => {
            format!("`require_compute = false` in {vendor}'s table, or a product or convolution beside it")
        }
        Some("min_region_nodes") => {
            format!(
                "a lower `min_region_nodes` in {vendor}'s table, or {vendor} taking more of what is around it"
            )
        }
        Some(limit) => format!("a higher `{limit}` in {vendor}'s table"),
        None if detail.contains("static shapes") => {
            format!(
                "a fixed size for it (`--dim`, `--input-shape`), or `static_shapes = false` in {vendor}'s table"
            )
        }
        None => "a pattern with fewer alternatives, optional nodes and chains".to_owned(),
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
