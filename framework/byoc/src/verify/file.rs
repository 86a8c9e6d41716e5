//! What the file says before any of its code runs: what it is, what it needs, what it exports.

use std::path::Path;

use byoc_host::PluginFile;
use object::elf;
use object::read::elf::{Dyn, ElfFile64, FileHeader};
use object::{Endianness, Object, ObjectSymbol};

use super::job::Answer;

const ENTRY: &str = "byoc_plugin_entry";

/// A library for this machine, with the entry and its section.
pub(super) fn library(path: &Path) -> Answer {
    match PluginFile::read(path).and_then(|file| file.check_epoch().map(|()| file)) {
        Ok(file) => {
            Answer::Pass(format!("{} {}, interface {}.{}", file.name, file.version, file.epoch, file.minor))
        }
        Err(error) => Answer::Fail(error.to_string()),
    }
}

/// Libraries that it loads and the glibc that it was linked with, which must not be newer than `most`.
pub(super) fn needs(path: &Path, most: Option<Version>) -> Answer {
    let needs = match read(path) {
        Ok(needs) => needs,
        Err(why) => return Answer::Fail(why),
    };
    let libraries = needs.libraries.join(", ");
    let Some((glibc, symbol)) = needs.glibc else {
        return Answer::Pass(format!("no version of glibc; loads {libraries}"));
    };
    match most.filter(|most| glibc > *most) {
        Some(most) => Answer::Fail(format!("{symbol} needs glibc {glibc}, which is newer than {most}")),
        None => Answer::Pass(format!("glibc {glibc} (for {symbol}); loads {libraries}")),
    }
}

/// Whatever is exported beside the entry may meet what others export, unless the library is bound to its own.
pub(super) fn exports(path: &Path) -> Answer {
    let needs = match read(path) {
        Ok(needs) => needs,
        Err(why) => return Answer::Fail(why),
    };
    let others: Vec<&String> = needs.exports.iter().filter(|name| *name != ENTRY).collect();
    match others.as_slice() {
        [] => Answer::Pass(format!("{ENTRY} alone")),
        _ if needs.is_bound => {
            let count = others.len();
            Answer::Pass(format!(
                "{ENTRY}, and {count} symbols that the library binds to itself (-Bsymbolic)"
            ))
        }
        [first, ..] => Answer::Fail(format!(
            "{} symbols beside {ENTRY}, the first is {first}: hide them (-fvisibility=hidden, a version script), or \
             bind them to the library (-Wl,-Bsymbolic)",
            others.len()
        )),
    }
}

/// A version of glibc.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u32, u32);

impl std::str::FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Version, String> {
        let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
        // `2.2.5` is told like `2.2`.
        let minor = minor.split('.').next().unwrap_or(minor);
        let parts = major.parse().ok().zip(minor.parse().ok());
        parts.map(|(major, minor)| Version(major, minor)).ok_or_else(|| format!("`{text}` is no version"))
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

struct Needs {
    libraries: Vec<String>,
    /// The newest, and a symbol that asks for it.
    glibc: Option<(Version, String)>,
    exports: Vec<String>,
    /// Whether its own symbols come before those of others, whoever loads it.
    is_bound: bool,
}

fn read(path: &Path) -> Result<Needs, String> {
    let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    parse(&bytes).map_err(|e| format!("{}: {e}", path.display()))
}

fn parse(bytes: &[u8]) -> object::Result<Needs> {
    let file = ElfFile64::<Endianness>::parse(bytes)?;
    let exports = file.dynamic_symbols().filter(|s| s.is_definition() && s.is_global());
    let exports = exports.filter_map(|s| s.name().ok()).map(str::to_owned).collect();
    let (header, endian) = (file.elf_header(), file.endian());
    let sections = header.sections(endian, bytes)?;
    let symbols = sections.symbols(endian, bytes, elf::SHT_DYNSYM)?;
    let (mut libraries, mut is_bound) = (Vec::new(), false);
    if let Some((dynamic, _)) = sections.dynamic(endian, bytes)? {
        for entry in dynamic {
            match entry.tag32(endian) {
                Some(elf::DT_NEEDED) => {
                    let name = entry.string(endian, symbols.strings())?;
                    libraries.push(String::from_utf8_lossy(name).into_owned());
                }
                Some(elf::DT_SYMBOLIC) => is_bound = true,
                Some(elf::DT_FLAGS) => is_bound |= entry.d_val(endian) & u64::from(elf::DF_SYMBOLIC) != 0,
                _ => {}
            }
        }
    }
    let mut glibc: Option<(Version, String)> = None;
    if let Some(versions) = sections.versions(endian, bytes)? {
        for (index, symbol) in symbols.enumerate() {
            let version = versions.version(versions.version_index(endian, index))?;
            let name = version.and_then(|v| std::str::from_utf8(v.name()).ok()?.strip_prefix("GLIBC_"));
            let Some(version) = name.and_then(|v| v.parse::<Version>().ok()) else { continue };
            if glibc.as_ref().is_none_or(|(newest, _)| version > *newest) {
                let symbol = symbols.symbol_name(endian, symbol)?;
                glibc = Some((version, String::from_utf8_lossy(symbol).into_owned()));
            }
        }
    }
    Ok(Needs { libraries, glibc, exports, is_bound })
}
