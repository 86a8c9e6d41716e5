//! Options of a plugin: `--plugin-option vendor.key=value`.

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};

/// What kind of value an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OptionKind {
    String,
    Int,
    Float,
    Bool,
}

/// An option that a plugin has.
#[derive(Debug, Clone, Copy)]
pub struct OptionDecl {
    pub name: &'static str,
    pub kind: OptionKind,
    /// As it would be written on the command line.
    pub default: &'static str,
    pub help: &'static str,
}

impl OptionDecl {
    pub const fn string(name: &'static str, default: &'static str, help: &'static str) -> Self {
        OptionDecl { name, kind: OptionKind::String, default, help }
    }

    pub const fn int(name: &'static str, default: &'static str, help: &'static str) -> Self {
        OptionDecl { name, kind: OptionKind::Int, default, help }
    }

    pub const fn float(name: &'static str, default: &'static str, help: &'static str) -> Self {
        OptionDecl { name, kind: OptionKind::Float, default, help }
    }

    pub const fn bool(name: &'static str, default: &'static str, help: &'static str) -> Self {
        OptionDecl { name, kind: OptionKind::Bool, default, help }
    }
}

/// The values of all options of a plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    pairs: Vec<(String, String)>,
}

impl Options {
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Options { pairs: pairs.into_iter().collect() }
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().rfind(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn int(&self, name: &str) -> Result<i64> {
        self.parsed(name, "a whole number")
    }

    pub fn float(&self, name: &str) -> Result<f64> {
        self.parsed(name, "a number")
    }

    pub fn bool(&self, name: &str) -> Result<bool> {
        self.parsed(name, "`true` or `false`")
    }

    fn parsed<T: std::str::FromStr>(&self, name: &str, what: &str) -> Result<T> {
        let value = self.get(name).ok_or_else(|| Error::invalid(format!("there is no option `{name}`")))?;
        value.parse().map_err(|_| Error::invalid(format!("option `{name}` must be {what}, not `{value}`")))
    }
}
