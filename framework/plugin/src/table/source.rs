//! The text of a table, and where a byte of it is.

use super::error::TableError;

/// A range of bytes of a table's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    pub fn at(offset: usize) -> Self {
        Span { start: offset, end: offset }
    }

    /// From the start of this span to the end of the other.
    pub fn to(self, other: Span) -> Self {
        Span { start: self.start, end: other.end }
    }
}

impl From<std::ops::Range<usize>> for Span {
    fn from(range: std::ops::Range<usize>) -> Self {
        Span { start: range.start, end: range.end }
    }
}

/// A table's text with the name that errors give it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub file: String,
    pub text: String,
}

impl Source {
    pub fn new(file: &str, text: &str) -> Self {
        Source { file: file.to_owned(), text: text.to_owned() }
    }

    /// Line and column (both from 1) of a byte offset.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &self.text[..offset];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    pub fn error(&self, span: Span, message: impl Into<String>) -> TableError {
        let (line, column) = self.position(span.start);
        TableError { file: self.file.clone(), line, column, message: message.into(), help: None }
    }

    /// Where each byte of a decoded TOML string, and its end, lies in the text. `span` covers the string's quotes.
    pub(super) fn string_map(&self, span: Span, decoded: &str) -> StringMap {
        let map =
            self.text.get(span.start..span.end).and_then(|raw| decode_offsets(raw, span.start, decoded));
        StringMap { offsets: map.unwrap_or_default(), start: span.start }
    }
}

/// Offsets of a decoded string in the table's text.
pub(super) struct StringMap {
    offsets: Vec<usize>,
    start: usize,
}

impl StringMap {
    pub(super) fn offset(&self, decoded: usize) -> usize {
        self.offsets.get(decoded).or(self.offsets.last()).copied().unwrap_or(self.start)
    }

    pub(super) fn span(&self, decoded: Span) -> Span {
        Span { start: self.offset(decoded.start), end: self.offset(decoded.end) }
    }
}

/// Decodes a raw TOML string again, to learn each byte's offset. `None` where it does not give `decoded`.
fn decode_offsets(raw: &str, base: usize, decoded: &str) -> Option<Vec<usize>> {
    let quote = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quote| raw.starts_with(quote))?;
    let inner = raw.get(quote.len()..raw.len().checked_sub(quote.len())?)?;
    let multi_line = quote.len() == 3;
    let first_newline = if multi_line { inner.len() - strip_newline(inner).len() } else { 0 };
    let mut rest = &inner[first_newline..];
    let mut offset = base + quote.len() + first_newline;
    let mut text = String::with_capacity(decoded.len());
    let mut offsets = Vec::with_capacity(decoded.len() + 1);
    while let Some(first) = rest.chars().next() {
        let (written, length) = if first == '\\' && quote.starts_with('"') {
            decode_escape(rest)?
        } else {
            (Some(first), first.len_utf8())
        };
        if let Some(written) = written {
            // The parser may turn a line's end of "\r\n" into "\n".
            if written != '\r' || decoded[text.len().min(decoded.len())..].starts_with('\r') {
                offsets.extend(std::iter::repeat_n(offset, written.len_utf8()));
                text.push(written);
            }
        }
        if !decoded.is_char_boundary(text.len()) || text.len() > decoded.len() {
            return None;
        }
        offset += length;
        rest = &rest[length..];
    }
    offsets.push(offset);
    (text == decoded).then_some(offsets)
}

/// One escape of a basic string: the character it stands for (none where it joins lines) and its length.
fn decode_escape(rest: &str) -> Option<(Option<char>, usize)> {
    let code = |digits: usize| {
        let value = u32::from_str_radix(rest.get(2..2 + digits)?, 16).ok()?;
        Some((Some(char::from_u32(value)?), 2 + digits))
    };
    let simple = |c: char| Some((Some(c), 2));
    match rest[1..].chars().next()? {
        'b' => simple('\u{8}'),
        't' => simple('\t'),
        'n' => simple('\n'),
        'f' => simple('\u{c}'),
        'r' => simple('\r'),
        'e' => simple('\u{1b}'),
        '"' => simple('"'),
        '\\' => simple('\\'),
        'x' => code(2),
        'u' => code(4),
        'U' => code(8),
        c if c.is_ascii_whitespace() => {
            let joined = rest[1..].trim_start_matches([' ', '\t', '\r', '\n']);
            Some((None, rest.len() - joined.len()))
        }
        _ => None,
    }
}

fn strip_newline(text: &str) -> &str {
    text.strip_prefix("\r\n").or_else(|| text.strip_prefix('\n')).unwrap_or(text)
}
