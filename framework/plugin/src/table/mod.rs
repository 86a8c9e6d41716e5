//! Pattern tables: what a vendor can run, as a TOML file (schema 1).
//!
//! [`PatternTable::parse`] reads a table and makes every check that needs no knowledge of operators;
//! [`PatternTable::check`] makes the others through [`TableChecks`]. Every error names file, line and column.
//! The data is in `ast`, the TOML schema in `schema`, the match language in `lexer` and `parser`.

mod ast;
mod error;
mod external;
mod lexer;
mod parser;
mod schema;
mod source;
mod structure;

pub use ast::{
    Arg, ArgKind, Attribute, Call, Clause, Constness, CostRate, Fold, Limits, Literal, OpName, OpSet,
    Pattern, PatternTable, Quantifier, Statement, VendorHeader,
};
pub use error::{TableError, nearest};
pub use external::{OperatorLookup, TableChecks, WhereError};
pub use source::{Source, Span};

impl PatternTable {
    /// Reads a table from text; `file` is how errors name it.
    pub fn parse(file: &str, text: &str) -> Result<Self, TableError> {
        let source = Source::new(file, text);
        let table = schema::read(source)?;
        structure::check(&table)?;
        Ok(table)
    }

    /// Reads a table from bytes, as they lie in a file or in a plugin's section.
    pub fn parse_bytes(file: &str, bytes: &[u8]) -> Result<Self, TableError> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::parse(file, text),
            Err(error) => {
                let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
                let end = Span::at(valid.len());
                Err(Source::new(file, &valid).error(end, "a pattern table must be UTF-8 text"))
            }
        }
    }

    /// Makes the checks that need operator schemas and a CEL parser.
    pub fn check(&self, checks: &dyn TableChecks) -> Result<(), TableError> {
        external::check(self, checks)
    }

    /// An error about `span` of this table's text.
    pub fn error(&self, span: Span, message: impl Into<String>) -> TableError {
        self.source.error(span, message)
    }
}

#[cfg(test)]
mod tests;
