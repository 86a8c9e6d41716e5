//! The scanner: position, white space, punctuation, identifiers and literals.

/// How deep graphs and types may nest. The binary format cannot hold more: it takes three messages of
/// its hundred for each graph in a graph.
const MAX_DEPTH: u32 = 32;

/// What is wrong with a text, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct ParseError {
    pub line: usize,
    pub column: usize,
    pub message: String,
}

pub(super) type Result<T> = std::result::Result<T, ParseError>;

/// A literal as it is written; numbers keep their text, because its type decides how to read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Literal<'a> {
    Int(&'a str),
    Float(&'a str),
    Text(String),
}

pub(super) struct Cursor<'a> {
    text: &'a str,
    position: usize,
    depth: u32,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a str) -> Cursor<'a> {
        Cursor { text, position: 0, depth: 0 }
    }

    /// An error at the current position.
    pub fn error<T>(&self, message: impl Into<String>) -> Result<T> {
        self.error_at(self.position, message)
    }

    fn error_at<T>(&self, position: usize, message: impl Into<String>) -> Result<T> {
        let before = &self.text[..position];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        Err(ParseError {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: message.into(),
        })
    }

    /// Runs `parse` one level deeper.
    pub fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == MAX_DEPTH {
            return self.error(format!("nested deeper than {MAX_DEPTH} levels"));
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }

    fn rest(&self) -> &'a str {
        &self.text[self.position..]
    }

    fn skip_space(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
            self.position += rest.len() - trimmed.len();
            if !trimmed.starts_with('#') {
                return;
            }
            self.position += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    /// The next character behind white space and comments.
    pub fn peek(&mut self) -> Option<char> {
        self.skip_space();
        self.rest().chars().next()
    }

    pub fn at_end(&mut self) -> bool {
        self.peek().is_none()
    }

    pub fn eat(&mut self, expected: char) -> bool {
        let found = self.peek() == Some(expected);
        if found {
            self.position += expected.len_utf8();
        }
        found
    }

    pub fn expect(&mut self, expected: char) -> Result<()> {
        if self.eat(expected) {
            return Ok(());
        }
        match self.peek() {
            Some(found) => self.error(format!("expected `{expected}`, found `{found}`")),
            None => self.error(format!("expected `{expected}`, found the end of the text")),
        }
    }

    pub fn expect_arrow(&mut self) -> Result<()> {
        self.expect('=')?;
        if !self.rest().starts_with('>') {
            return self.error("expected `=>`");
        }
        self.position += 1;
        Ok(())
    }

    /// `element`s between `open` and `close`, separated by commas; there may be none.
    pub fn list<T>(
        &mut self,
        open: char,
        close: char,
        mut element: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.expect(open)?;
        let mut elements = Vec::new();
        if self.eat(close) {
            return Ok(elements);
        }
        loop {
            elements.push(element(self)?);
            if !self.eat(',') {
                self.expect(close)?;
                return Ok(elements);
            }
        }
    }

    /// The identifier that comes next, without taking it; empty if there is none.
    pub fn peek_identifier(&mut self) -> &'a str {
        self.skip_space();
        word(self.rest())
    }

    pub fn identifier(&mut self) -> Result<&'a str> {
        let identifier = self.peek_identifier();
        if identifier.is_empty() {
            return self.error("expected an identifier");
        }
        self.position += identifier.len();
        Ok(identifier)
    }

    /// An identifier, or any text in quotes.
    pub fn name(&mut self) -> Result<String> {
        match self.peek() {
            Some('"') => self.quoted(),
            _ => self.identifier().map(str::to_owned),
        }
    }

    /// Names separated by commas. A missing name before a comma is an empty one, behind the last it is
    /// none: `(, x)` has two, `(x,)` has one.
    pub fn names(&mut self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        loop {
            match self.peek() {
                Some('"') => names.push(self.quoted()?),
                Some(',') => names.push(String::new()),
                _ if self.peek_identifier().is_empty() => return Ok(names),
                _ => names.push(self.identifier()?.to_owned()),
            }
            if !self.eat(',') {
                return Ok(names);
            }
        }
    }

    /// Identifiers joined by dots.
    pub fn qualified(&mut self) -> Result<String> {
        let mut name = self.identifier()?.to_owned();
        while self.eat('.') {
            name.push('.');
            name.push_str(self.identifier()?);
        }
        Ok(name)
    }

    /// Text in quotes; a backslash takes the next character as it stands.
    pub fn quoted(&mut self) -> Result<String> {
        self.expect('"')?;
        let start = self.position - 1;
        let mut text = String::new();
        let mut chars = self.rest().char_indices();
        while let Some((offset, c)) = chars.next() {
            match c {
                '"' => {
                    self.position += offset + 1;
                    return Ok(text);
                }
                '\\' => text.extend(chars.next().map(|(_, escaped)| escaped)),
                _ => text.push(c),
            }
        }
        self.error_at(start, "this quoted text does not end")
    }

    /// Whether a number comes next that is written in letters (`inf`, `nan`).
    pub fn at_float_word(&mut self) -> bool {
        is_float_word(self.peek_identifier())
    }

    pub fn literal(&mut self) -> Result<Literal<'a>> {
        if self.peek() == Some('"') {
            return self.quoted().map(Literal::Text);
        }
        let start = self.rest();
        let sign = start.starts_with('-') as usize;
        self.position += sign;
        let word = word(&start[sign..]);
        let (length, is_float) = match is_float_word(word) {
            true => (word.len(), true),
            false => number(&start[sign..]),
        };
        if length == 0 {
            self.position -= sign;
            return self.error("expected a number or a quoted text");
        }
        self.position += length;
        let text = &start[..sign + length];
        Ok(if is_float { Literal::Float(text) } else { Literal::Int(text) })
    }

    /// A whole number of type `T`.
    pub fn int<T: std::str::FromStr>(&mut self) -> Result<T> {
        self.skip_space();
        let start = self.position;
        match self.literal()? {
            Literal::Int(text) => self.convert(start, text),
            _ => self.error_at(start, "expected a whole number"),
        }
    }

    /// A number, whole or not.
    pub fn float<T: std::str::FromStr + Into<f64> + Copy>(&mut self) -> Result<T> {
        self.skip_space();
        let start = self.position;
        match self.literal()? {
            Literal::Int(text) | Literal::Float(text) => self.float_of(start, text),
            Literal::Text(_) => self.error_at(start, "expected a number"),
        }
    }

    pub fn position(&mut self) -> usize {
        self.skip_space();
        self.position
    }

    /// Reads `text`, which began at `start`, as a `T`.
    pub fn convert<T: std::str::FromStr>(&self, start: usize, text: &str) -> Result<T> {
        text.parse().or_else(|_| self.error_at(start, format!("`{text}` is not a number, or out of range")))
    }

    /// As [`Self::convert`], for floating point: what is too large is an error, not infinity.
    pub fn float_of<T: std::str::FromStr + Into<f64> + Copy>(&self, start: usize, text: &str) -> Result<T> {
        let value: T = self.convert(start, text)?;
        let written_in_digits = text.contains(|c: char| c.is_ascii_digit());
        if written_in_digits && !value.into().is_finite() {
            return self.error_at(start, format!("`{text}` is out of range"));
        }
        Ok(value)
    }
}

/// The identifier that `text` begins with, or nothing.
fn word(text: &str) -> &str {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return "";
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

pub(super) fn is_float_word(word: &str) -> bool {
    ["inf", "infinity", "nan"].iter().any(|w| word.eq_ignore_ascii_case(w))
}

/// Length of the number that `text` begins with, and whether it has a point or an exponent.
fn number(text: &str) -> (usize, bool) {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut end = digits(0);
    let mut is_float = false;
    if end == 0 {
        return (0, false);
    }
    if bytes.get(end) == Some(&b'.') {
        is_float = true;
        end += 1;
        end += digits(end);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        is_float = true;
        end += 1;
        end += matches!(bytes.get(end), Some(b'+' | b'-')) as usize;
        end += digits(end);
    }
    (end, is_float)
}
