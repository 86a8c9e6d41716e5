//! Tokens of the match language.

use super::source::Span;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A name, also `_`.
    Ident(String),
    Int(i64),
    Float(f32),
    String(String),
    /// One of `= | , ? * < > ( ) [ ] : .`
    Sign(char),
    /// `...`
    Rest,
    /// The end of a line; inside brackets it counts as a space.
    Newline,
    End,
}

#[derive(Debug, Clone)]
pub(super) struct Lexeme {
    pub token: Token,
    pub span: Span,
}

/// Cuts a pattern into tokens; the last one is `End`. An error is a message and the place in the text.
pub(super) fn lex(text: &str) -> Result<Vec<Lexeme>, (Span, String)> {
    let mut lexemes = Vec::new();
    let mut depth = 0usize;
    let mut start = 0;
    while let Some(first) = text[start..].chars().next() {
        let rest = &text[start..];
        let (token, length) = match first {
            '\n' => ((depth == 0).then_some(Token::Newline), 1),
            c if c.is_whitespace() => (None, c.len_utf8()),
            '"' => string(rest)
                .map_or_else(|message| Err((Span::at(start), message)), |(t, n)| Ok((Some(t), n)))?,
            '.' if rest.starts_with("...") => (Some(Token::Rest), 3),
            c if c.is_ascii_digit() || (matches!(c, '-' | '+' | '.') && starts_number(&rest[1..])) => {
                let length = number_length(rest);
                let token = number(&rest[..length])
                    .map_err(|message| (Span { start, end: start + length }, message))?;
                (Some(token), length)
            }
            c if c.is_ascii_alphabetic() || c == '_' => {
                let length = rest.find(|c: char| !is_ident(c)).unwrap_or(rest.len());
                (Some(Token::Ident(rest[..length].to_owned())), length)
            }
            '=' | '|' | ',' | '?' | '*' | '<' | '>' | '(' | ')' | '[' | ']' | ':' | '.' => {
                (Some(Token::Sign(first)), 1)
            }
            other => return Err((Span::at(start), format!("unexpected character {other:?}"))),
        };
        match token {
            Some(Token::Sign('(' | '<' | '[')) => depth += 1,
            Some(Token::Sign(')' | '>' | ']')) => depth = depth.saturating_sub(1),
            _ => {}
        }
        let end = start + length;
        lexemes.extend(token.map(|token| Lexeme { token, span: Span { start, end } }));
        start = end;
    }
    lexemes.push(Lexeme { token: Token::End, span: Span::at(text.len()) });
    Ok(lexemes)
}

fn is_ident(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// After a sign or a point: a digit, a point with a digit, or `inf`.
fn starts_number(rest: &str) -> bool {
    let rest = rest.strip_prefix('.').unwrap_or(rest);
    rest.starts_with(|c: char| c.is_ascii_digit()) || rest.starts_with("inf")
}

fn number_length(text: &str) -> usize {
    let mut previous = ' ';
    text.find(|c: char| {
        let sign_of_exponent = matches!(c, '+' | '-') && matches!(previous, 'e' | 'E' | ' ');
        previous = c;
        !(is_ident(c) || c == '.' || sign_of_exponent)
    })
    .unwrap_or(text.len())
}

fn number(text: &str) -> Result<Token, String> {
    if let Ok(int) = text.parse() {
        return Ok(Token::Int(int));
    }
    let whole = text.trim_start_matches(['-', '+']).chars().all(|c| c.is_ascii_digit());
    match text.parse::<f32>() {
        Ok(_) if whole => Err(format!("`{text}` does not fit 64 bits")),
        Ok(float) => Ok(Token::Float(float)),
        Err(_) => Err(format!("`{text}` is not a number")),
    }
}

/// A string with its quotes; a backslash takes the next character as it is.
fn string(text: &str) -> Result<(Token, usize), String> {
    let mut content = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((Token::String(content), at + 1)),
            '\n' => break,
            '\\' => content.extend(chars.next().map(|(_, escaped)| escaped)),
            other => content.push(other),
        }
    }
    Err("this string has no closing quote".to_owned())
}
