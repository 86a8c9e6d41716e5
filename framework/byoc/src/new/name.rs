//! Names of new plugins. One name is a crate's, a library's, a vendor's and a namespace.

use std::str::FromStr;

use thiserror::Error;

/// ASCII letters, digits, `-` and `_`, a letter first; not a word of Rust or C++.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginName(String);

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    #[error("begins with a letter and has only ASCII letters, digits, `-` and `_`, as in `acme-npu`")]
    Characters,
    #[error("has more than {MAX} characters")]
    Length,
    #[error("means something else to BYOC or a compiler; choose another, as `{0}-npu`")]
    Reserved(String),
}

const MAX: usize = 64;

/// Words of Rust and C++, crates that every build has, and what the templates or the framework name so.
const RESERVED: &[&str] = &[
    "abstract",
    "alloc",
    "alignas",
    "alignof",
    "and",
    "as",
    "asm",
    "async",
    "auto",
    "await",
    "become",
    "bitand",
    "bitor",
    "bool",
    "box",
    "break",
    "byoc",
    "byoc_plugin",
    "case",
    "catch",
    "char",
    "class",
    "co_await",
    "co_return",
    "co_yield",
    "compl",
    "concept",
    "const",
    "consteval",
    "constexpr",
    "constinit",
    "continue",
    "core",
    "crate",
    "decltype",
    "default",
    "delete",
    "do",
    "double",
    "dyn",
    "else",
    "enum",
    "explicit",
    "export",
    "extern",
    "false",
    "final",
    "float",
    "fn",
    "for",
    "friend",
    "gen",
    "goto",
    "host",
    "if",
    "impl",
    "in",
    "inline",
    "int",
    "kernels",
    "let",
    "long",
    "loop",
    "macro",
    "main",
    "match",
    "mod",
    "move",
    "mut",
    "mutable",
    "namespace",
    "new",
    "noexcept",
    "not",
    "nullptr",
    "operator",
    "or",
    "override",
    "priv",
    "private",
    "proc_macro",
    "protected",
    "pub",
    "public",
    "ref",
    "register",
    "requires",
    "return",
    "self",
    "short",
    "signed",
    "sizeof",
    "static",
    "std",
    "struct",
    "super",
    "switch",
    "template",
    "test",
    "this",
    "throw",
    "trait",
    "true",
    "try",
    "type",
    "typedef",
    "typeid",
    "typename",
    "union",
    "unsafe",
    "unsigned",
    "unsized",
    "use",
    "using",
    "virtual",
    "void",
    "volatile",
    "wchar_t",
    "where",
    "while",
    "xor",
    "yield",
];

impl PluginName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name where `-` cannot stand: in identifiers and the library's file.
    pub fn identifier(&self) -> String {
        self.0.replace('-', "_")
    }
}

impl FromStr for PluginName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<PluginName, NameError> {
        let letters = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !text.starts_with(|c: char| c.is_ascii_alphabetic()) || !text.chars().all(letters) {
            return Err(NameError::Characters);
        }
        if text.len() > MAX {
            return Err(NameError::Length);
        }
        let name = PluginName(text.to_owned());
        if RESERVED.contains(&name.identifier().to_ascii_lowercase().as_str()) {
            return Err(NameError::Reserved(text.to_owned()));
        }
        Ok(name)
    }
}
