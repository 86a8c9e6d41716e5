//! The match language: recursive descent over the tokens of one pattern.

use super::ast::{Arg, ArgKind, Attribute, Call, Constness, Literal, OpName, OpSet, Quantifier, Statement};
use super::error::TableError;
use super::lexer::{Lexeme, Token, lex};
use super::source::{Source, Span, StringMap};

/// Nested calls go no deeper.
const MAX_DEPTH: usize = 64;
/// A pattern has no more nodes, nested and alternative ones included.
const MAX_CALLS: usize = 256;
/// A call names no more operators, and no more attributes.
const MAX_LIST: usize = 64;

/// Words that CEL keeps to itself: a `where` could not speak of values with such names.
const CEL_KEYWORDS: [&str; 21] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// Parses the decoded `match` text; `span` is its TOML string in the table.
pub(super) fn parse(source: &Source, span: Span, text: &str) -> Result<Vec<Statement>, TableError> {
    let map = source.string_map(span, text);
    let lexemes = lex(text).map_err(|(at, message)| source.error(map.span(at), message))?;
    let mut parser = Parser { source, map, lexemes, next: 0, calls: 0 };
    parser.pattern()
}

struct Parser<'a> {
    source: &'a Source,
    map: StringMap,
    lexemes: Vec<Lexeme>,
    next: usize,
    calls: usize,
}

impl Parser<'_> {
    fn pattern(&mut self) -> Result<Vec<Statement>, TableError> {
        let mut statements = Vec::new();
        loop {
            while self.take(&Token::Newline) {}
            if *self.peek() == Token::End {
                break;
            }
            statements.push(self.statement()?);
            if !matches!(self.peek(), Token::Newline | Token::End) {
                return self.expected("the end of the line");
            }
        }
        if statements.is_empty() {
            return Err(self.error(self.span(), "`match` has no statement"));
        }
        Ok(statements)
    }

    fn statement(&mut self) -> Result<Statement, TableError> {
        let start = self.span();
        let mut outputs = vec![self.output()?];
        while self.take_sign(',') {
            outputs.push(self.output()?);
        }
        self.sign('=')?;
        let mut alternatives = vec![self.call(0)?];
        while self.take_sign('|') {
            alternatives.push(self.call(0)?);
        }
        Ok(Statement { outputs, alternatives, span: start.to(self.previous_span()) })
    }

    fn output(&mut self) -> Result<Option<String>, TableError> {
        let (name, span) = self.ident("a name for an output, or `_`")?;
        self.value_name(name, span)
    }

    /// A name for a value; `_` is none.
    fn value_name(&self, name: String, span: Span) -> Result<Option<String>, TableError> {
        if CEL_KEYWORDS.contains(&name.as_str()) {
            let message = format!("`{name}` is a keyword of `where` expressions and cannot name a value");
            return Err(self.error(span, message).with_help(format!("for example `{name}_`")));
        }
        Ok((name != "_").then_some(name))
    }

    fn call(&mut self, depth: usize) -> Result<Call, TableError> {
        let start = self.span();
        self.calls += 1;
        if depth > MAX_DEPTH {
            return Err(self.error(start, format!("calls are nested more than {MAX_DEPTH} deep")));
        }
        if self.calls > MAX_CALLS {
            return Err(self.error(start, format!("a pattern has at most {MAX_CALLS} nodes")));
        }
        let ops = self.operators()?;
        let quantifier = match self.peek() {
            Token::Sign('?') => Quantifier::Optional,
            Token::Sign('*') => Quantifier::Chain,
            _ => Quantifier::One,
        };
        if quantifier != Quantifier::One {
            self.advance();
        }
        let attributes = if self.take_sign('<') { self.attributes()? } else { Vec::new() };
        self.sign('(')?;
        let (args, variadic_rest) = self.args(depth)?;
        let span = start.to(self.previous_span());
        if quantifier != Quantifier::One && args.is_empty() {
            return Err(
                self.error(span, "a node that may be absent needs an input that stands for its output")
            );
        }
        Ok(Call { ops, quantifier, attributes, args, variadic_rest, span })
    }

    fn operators(&mut self) -> Result<OpSet, TableError> {
        let parenthesised = self.take_sign('(');
        let first = self.operator()?;
        if first.name == "_" {
            if !first.domain.is_empty() || *self.peek() == Token::Sign('|') {
                return Err(self.error(first.span, "`_` stands for any operator and must stand alone"));
            }
            if parenthesised {
                self.sign(')')?;
            }
            return Ok(OpSet::Any);
        }
        let mut names = vec![first];
        while self.take_sign('|') {
            names.push(self.operator()?);
            self.check_length(names.len(), "operators")?;
        }
        if parenthesised {
            self.sign(')')?;
        }
        if let Some(any) = names.iter().find(|op| op.name == "_") {
            return Err(self.error(any.span, "`_` stands for any operator and must stand alone"));
        }
        Ok(OpSet::Names(names))
    }

    /// `[domain.]Name`; the domain may have points itself.
    fn operator(&mut self) -> Result<OpName, TableError> {
        let (mut name, start) = self.ident("an operator")?;
        let mut domain = Vec::new();
        while self.take_sign('.') {
            domain.push(std::mem::replace(&mut name, self.ident("an operator's name after its domain")?.0));
        }
        let domain = domain.join(".");
        let domain = if domain == "ai.onnx" { String::new() } else { domain };
        Ok(OpName { domain, name, span: start.to(self.previous_span()) })
    }

    /// What follows `<`, the closing `>` included.
    fn attributes(&mut self) -> Result<Vec<Attribute>, TableError> {
        let mut attributes: Vec<Attribute> = Vec::new();
        loop {
            let (name, span) = self.ident("an attribute's name")?;
            if attributes.iter().any(|other| other.name == name) {
                return Err(self.error(span, format!("attribute `{name}` is given twice")));
            }
            self.sign('=')?;
            let value = self.literal()?;
            attributes.push(Attribute { name, value, span: span.to(self.previous_span()) });
            self.check_length(attributes.len(), "attributes")?;
            if self.take_sign('>') {
                return Ok(attributes);
            }
            if !self.take_sign(',') {
                return self.expected("`,` or `>`");
            }
        }
    }

    fn check_length(&self, length: usize, what: &str) -> Result<(), TableError> {
        if length <= MAX_LIST {
            return Ok(());
        }
        Err(self.error(self.previous_span(), format!("a call has at most {MAX_LIST} {what}")))
    }

    fn literal(&mut self) -> Result<Literal, TableError> {
        if !self.take_sign('[') {
            return self.scalar();
        }
        let start = self.previous_span();
        let mut items = Vec::new();
        while !self.take_sign(']') {
            items.push(self.scalar()?);
            if *self.peek() != Token::Sign(']') && !self.take_sign(',') {
                return self.expected("`,` or `]`");
            }
        }
        list(items).ok_or_else(|| self.error(start, "a list holds either numbers or strings"))
    }

    fn scalar(&mut self) -> Result<Literal, TableError> {
        let literal = match self.peek() {
            Token::Int(value) => Literal::Int(*value),
            Token::Float(value) => Literal::Float(*value),
            Token::String(value) => Literal::String(value.clone()),
            Token::Ident(name) if name == "inf" => Literal::Float(f32::INFINITY),
            Token::Ident(name) if name == "nan" => Literal::Float(f32::NAN),
            _ => return self.expected("a number, a string in double quotes, or a list of these"),
        };
        self.advance();
        Ok(literal)
    }

    /// What follows `(`, the closing `)` included: the arguments, and whether `...` ends them.
    fn args(&mut self, depth: usize) -> Result<(Vec<Arg>, bool), TableError> {
        let mut args = Vec::new();
        if self.take_sign(')') {
            return Ok((args, false));
        }
        loop {
            if self.take(&Token::Rest) {
                if !self.take_sign(')') {
                    return self.expected("`)`, since `...` is the last input,");
                }
                return Ok((args, true));
            }
            args.push(self.arg(depth)?);
            if self.take_sign(')') {
                return Ok((args, false));
            }
            if !self.take_sign(',') {
                return self.expected("`,` or `)`");
            }
        }
    }

    fn arg(&mut self, depth: usize) -> Result<Arg, TableError> {
        let start = self.span();
        let kind = if self.at_call() {
            ArgKind::Call(Box::new(self.call(depth + 1)?))
        } else {
            let (name, span) = self.ident("an input: a name, `_`, `...` or a call,")?;
            self.value_name(name, span)?.map_or(ArgKind::Any, ArgKind::Name)
        };
        let optional = self.take_sign('?');
        let constness = if self.take_sign(':') { self.constness()? } else { Constness::Any };
        Ok(Arg { kind, optional, constness, span: start.to(self.previous_span()) })
    }

    fn constness(&mut self) -> Result<Constness, TableError> {
        let constness = match self.peek() {
            Token::Ident(word) if word == "const" => Constness::Const,
            Token::Ident(word) if word == "input" => Constness::Input,
            _ => return self.expected("`const` or `input`"),
        };
        self.advance();
        Ok(constness)
    }

    /// Is the next argument a call? A name is one word, perhaps with `?`; everything else begins an operator.
    fn at_call(&self) -> bool {
        let sign_at = |ahead: usize, signs: &[char]| match self.lexemes.get(self.next + ahead) {
            Some(Lexeme { token: Token::Sign(sign), .. }) => signs.contains(sign),
            _ => false,
        };
        sign_at(0, &['('])
            || matches!(self.peek(), Token::Ident(_))
                && (sign_at(1, &['(', '<', '.', '|', '*']) || sign_at(1, &['?']) && sign_at(2, &['(', '<']))
    }

    fn peek(&self) -> &Token {
        &self.lexemes[self.next].token
    }

    fn advance(&mut self) {
        self.next = (self.next + 1).min(self.lexemes.len() - 1);
    }

    fn take(&mut self, token: &Token) -> bool {
        let found = self.peek() == token;
        if found {
            self.advance();
        }
        found
    }

    fn take_sign(&mut self, sign: char) -> bool {
        self.take(&Token::Sign(sign))
    }

    fn sign(&mut self, sign: char) -> Result<(), TableError> {
        if self.take_sign(sign) { Ok(()) } else { self.expected(&format!("`{sign}`")) }
    }

    fn ident(&mut self, what: &str) -> Result<(String, Span), TableError> {
        let Token::Ident(name) = self.peek().clone() else { return self.expected(what) };
        let span = self.span();
        self.advance();
        Ok((name, span))
    }

    fn span(&self) -> Span {
        self.map.span(self.lexemes[self.next].span)
    }

    fn previous_span(&self) -> Span {
        self.map.span(self.lexemes[self.next.saturating_sub(1)].span)
    }

    fn error(&self, span: Span, message: impl Into<String>) -> TableError {
        self.source.error(span, message)
    }

    fn expected<T>(&self, what: &str) -> Result<T, TableError> {
        let found = match self.peek() {
            Token::Ident(name) => format!("`{name}`"),
            Token::Int(value) => format!("`{value}`"),
            Token::Float(value) => format!("`{value}`"),
            Token::String(value) => format!("{value:?}"),
            Token::Sign(sign) => format!("`{sign}`"),
            Token::Rest => "`...`".to_owned(),
            Token::Newline => "the end of the line".to_owned(),
            Token::End => "the end of `match`".to_owned(),
        };
        Err(self.error(self.span(), format!("expected {what} but found {found}")))
    }
}

/// A list from its items: whole numbers, numbers (as floats where one is), or strings.
fn list(items: Vec<Literal>) -> Option<Literal> {
    let strings = items.iter().any(|item| matches!(item, Literal::String(_)));
    let floats = items.iter().any(|item| matches!(item, Literal::Float(_)));
    let items = items.into_iter();
    match (strings, floats) {
        (true, _) => items
            .map(|item| if let Literal::String(text) = item { Some(text) } else { None })
            .collect::<Option<_>>()
            .map(Literal::Strings),
        (false, true) => items
            .map(|item| match item {
                Literal::Float(value) => Some(value),
                Literal::Int(value) => Some(value as f32),
                _ => None,
            })
            .collect::<Option<_>>()
            .map(Literal::Floats),
        (false, false) => items
            .map(|item| if let Literal::Int(value) = item { Some(value) } else { None })
            .collect::<Option<_>>()
            .map(Literal::Ints),
    }
}
