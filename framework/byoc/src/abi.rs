//! Versions of the plugin interface beside each other: would a plugin that was built for one run on another?

use byoc_plugin::abi::layout_text;

/// Versions that were given out, by `epoch.minor`.
const VERSIONS: &[(&str, &str)] = &[("1.0", include_str!("../../plugin/versions/1.0/layout.txt"))];

/// A struct of some version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Struct {
    pub name: String,
    pub size: usize,
    /// Its size when it was first given out, which no other side's may be below.
    pub first: usize,
    pub fields: Vec<Field>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub offset: usize,
    /// As written in Rust; a header does not tell.
    pub ty: Option<String>,
}

/// All that two sides of the interface have to agree on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    pub epoch: u32,
    pub minor: u32,
    pub constants: Vec<(String, u64)>,
    pub structs: Vec<Struct>,
}

impl Layout {
    /// This program's.
    pub fn own() -> Layout {
        Layout::parse(&layout_text()).expect("what is written here is read here")
    }

    /// That of a version that was given out.
    pub fn version(version: &str) -> Option<Layout> {
        VERSIONS.iter().find(|(name, _)| *name == version).and_then(|(_, text)| Layout::parse(text))
    }

    pub fn versions() -> impl Iterator<Item = &'static str> {
        VERSIONS.iter().map(|(version, _)| *version)
    }

    /// `epoch.minor`.
    pub fn number(&self) -> String {
        format!("{}.{}", self.epoch, self.minor)
    }

    /// Reads a `byoc_abi.h`, or what `byoc abi layout` writes.
    pub fn parse(text: &str) -> Option<Layout> {
        let is_header = text.contains("#define BYOC_EPOCH");
        let layout = if is_header { parse_header(text) } else { parse_text(text) };
        layout.filter(|layout| !layout.structs.is_empty())
    }

    /// Why a plugin that was built for `self` may not run on a host of another version; empty where it does.
    pub fn breaks_on(&self, host: &Layout) -> Vec<String> {
        let mut breaks = Vec::new();
        if self.epoch != host.epoch {
            breaks.push(format!("epoch {} is not {}", self.epoch, host.epoch));
        }
        for (name, value) in &self.constants {
            match host.constants.iter().find(|(known, _)| known == name) {
                None => breaks.push(format!("{name} is gone")),
                Some((_, now)) if now != value => breaks.push(format!("{name} was {value} and is {now}")),
                Some(_) => {}
            }
        }
        for old in &self.structs {
            match host.structs.iter().find(|s| s.name == old.name) {
                None => breaks.push(format!("{} is gone", old.name)),
                Some(new) => compare(old, new, &mut breaks),
            }
        }
        breaks
    }
}

fn compare(old: &Struct, new: &Struct, breaks: &mut Vec<String>) {
    let name = &old.name;
    if new.size < old.size {
        breaks.push(format!("{name} has shrunk from {} to {} bytes", old.size, new.size));
    }
    if new.first > old.first {
        breaks.push(format!("{name} was allowed {} bytes and has to have {}", old.first, new.first));
    }
    for field in &old.fields {
        let label = format!("{name}.{}", field.name);
        match new.fields.iter().find(|f| f.name == field.name) {
            None => breaks.push(format!("{label} is gone")),
            Some(now) if now.offset != field.offset => {
                breaks.push(format!("{label} has moved from {} to {}", field.offset, now.offset));
            }
            Some(now) => {
                if let (Some(was), Some(is)) = (&field.ty, &now.ty)
                    && was != is
                {
                    breaks.push(format!("{label} was {was} and is {is}"));
                }
            }
        }
    }
}

fn parse_text(text: &str) -> Option<Layout> {
    let mut layout = Layout::default();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["epoch", number] => layout.epoch = number.parse().ok()?,
            ["minor", number] => layout.minor = number.parse().ok()?,
            ["constant", name, value] => layout.constants.push(((*name).to_owned(), value.parse().ok()?)),
            [name, "size", size, "first", first, ..] => layout.structs.push(Struct {
                name: (*name).to_owned(),
                size: size.parse().ok()?,
                first: first.parse().ok()?,
                fields: Vec::new(),
            }),
            [offset, name, ty @ ..] if name.ends_with(':') => {
                let name = name.trim_end_matches(':').to_owned();
                let field = Field { name, offset: offset.parse().ok()?, ty: Some(ty.join(" ")) };
                layout.structs.last_mut()?.fields.push(field);
            }
            _ => {}
        }
    }
    Some(layout)
}

/// Reads the numbers that a header defines, and the assertions at its end.
fn parse_header(text: &str) -> Option<Layout> {
    let mut layout = Layout::default();
    let mut firsts = Vec::new();
    for line in text.lines() {
        if let Some(define) = line.strip_prefix("#define BYOC_") {
            match define.split_once(' ') {
                Some(("EPOCH", value)) => layout.epoch = number(value)?.try_into().ok()?,
                Some(("MINOR", value)) => layout.minor = number(value)?.try_into().ok()?,
                Some((name, value)) if name.ends_with("_MIN_SIZE") => {
                    firsts.push((name.trim_end_matches("_MIN_SIZE").to_owned(), number(value)? as usize));
                }
                Some((name, value)) if value.starts_with("UINT") => {
                    layout.constants.push((name.to_owned(), number(value)?));
                }
                _ => {}
            }
        } else if let Some(assertion) = line.strip_prefix("BYOC_ASSERT(").and_then(|l| l.strip_suffix(");")) {
            let (what, size) = assertion.split_once(" == ")?;
            assertion_of(what, size.parse().ok()?, &firsts, &mut layout.structs)?;
        }
    }
    Some(layout)
}

/// `sizeof(byoc_head)` or `offsetof(byoc_head, flags)`.
fn assertion_of(
    what: &str,
    number: usize,
    firsts: &[(String, usize)],
    structs: &mut Vec<Struct>,
) -> Option<()> {
    if let Some(name) = what.strip_prefix("sizeof(byoc_").and_then(|w| w.strip_suffix(')')) {
        let first = firsts.iter().find(|(known, _)| *known == name.to_uppercase()).map_or(number, |f| f.1);
        structs.push(Struct { name: rust_name(name), size: number, first, fields: Vec::new() });
    } else if let Some(field) = what.strip_prefix("offsetof(").and_then(|w| w.strip_suffix(')')) {
        let (_, name) = field.split_once(", ")?;
        let field = Field { name: name.to_owned(), offset: number, ty: None };
        structs.last_mut()?.fields.push(field);
    }
    Some(())
}

/// `0u`, `16`, `UINT32_C(1)` or `UINT64_C(0xff)`.
fn number(text: &str) -> Option<u64> {
    let inner = text.trim().split_once('(').map_or(text.trim(), |(_, rest)| rest.trim_end_matches(')'));
    match inner.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => inner.trim_end_matches('u').parse().ok(),
    }
}

/// `device_id` as `DeviceId`; the data type keeps DLPack's capitals.
fn rust_name(name: &str) -> String {
    let capital =
        |word: &str| word.get(..1).unwrap_or_default().to_uppercase() + word.get(1..).unwrap_or_default();
    name.split('_').map(capital).collect::<String>().replace("Dtype", "DType")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = include_str!("../../plugin/include/byoc_abi.h");

    /// A header does not say what types fields have in Rust.
    fn without_types(mut layout: Layout) -> Layout {
        layout.structs.iter_mut().flat_map(|s| &mut s.fields).for_each(|f| f.ty = None);
        layout
    }

    #[test]
    fn the_header_says_what_the_definitions_say() {
        assert_eq!(Layout::parse(HEADER), Some(without_types(Layout::own())));
    }

    #[test]
    fn plugins_of_every_version_of_this_epoch_run_here() {
        let own = Layout::own();
        assert!(Layout::version(&own.number()).is_some(), "{} is to be added to the versions", own.number());
        for version in Layout::versions() {
            let given = Layout::version(version).unwrap();
            let breaks = if given.epoch == own.epoch { given.breaks_on(&own) } else { Vec::new() };
            assert_eq!(breaks, [""; 0], "{version}");
        }
    }

    #[test]
    fn what_moves_shrinks_changes_or_goes_is_told_and_what_is_appended_is_not() {
        let own = Layout::own();
        let mut other = own.clone();
        let host = other.structs.iter_mut().find(|s| s.name == "Host").unwrap();
        host.fields[3].offset += 8;
        host.fields[4].ty = Some("u32".to_owned());
        host.size -= 8;
        host.first += 8;
        other.structs.retain(|s| s.name != "Pair");
        other.constants[1].1 += 1;
        let expected = [
            "DIM_UNKNOWN was 0 and is 1",
            "Host has shrunk",
            "Host was allowed",
            "Host.error_drop has moved",
            " and is u32",
            "Pair is gone",
        ];
        let breaks = own.breaks_on(&other);
        assert_eq!(breaks.len(), expected.len(), "{breaks:?}");
        assert!(expected.iter().all(|e| breaks.iter().any(|b| b.contains(e))), "{breaks:?}");
        let mut longer = own.clone();
        longer.structs[0].size += 8;
        longer.constants.push(("NEW".to_owned(), 7));
        assert!(own.breaks_on(&longer).is_empty());
    }

    #[test]
    fn what_is_no_layout_is_none() {
        for text in ["", "epoch", "#define BYOC_EPOCH 1u\n", "Head size x first 1", "constant A -1\n"] {
            assert_eq!(Layout::parse(text), None, "{text}");
        }
    }
}
