//! Compares attributes of nodes with the literals of patterns, and shows them in reasons.

use byoc_graph::Attr;
use byoc_plugin::table::Literal;

/// Whether an attribute is what a pattern asks for: floats as `f32`; whole numbers stand for floats too.
pub fn equals(attr: &Attr, literal: &Literal) -> bool {
    match (attr, literal) {
        (Attr::Int(a), Literal::Int(b)) => a == b,
        (Attr::Float(a), Literal::Float(b)) => a == b,
        (Attr::Float(a), Literal::Int(b)) => *a == *b as f32,
        (Attr::Str(a), Literal::String(b)) => a[..] == *b.as_bytes(),
        (Attr::Ints(a), Literal::Ints(b)) => a == b,
        (Attr::Floats(a), Literal::Floats(b)) => a == b,
        (Attr::Floats(a), Literal::Ints(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| *a == *b as f32)
        }
        (Attr::Strs(a), Literal::Strings(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a[..] == *b.as_bytes())
        }
        (Attr::Strs(a), Literal::Ints(b)) => a.is_empty() && b.is_empty(),
        _ => false,
    }
}

pub fn show_literal(literal: &Literal) -> String {
    match literal {
        Literal::Int(i) => i.to_string(),
        Literal::Float(x) => x.to_string(),
        Literal::String(s) => format!("{s:?}"),
        Literal::Ints(v) => format!("{v:?}"),
        Literal::Floats(v) => format!("{v:?}"),
        Literal::Strings(v) => format!("{v:?}"),
    }
}

/// The attribute's value as text.
pub fn show(attr: &Attr) -> String {
    let text = |s: &bytes::Bytes| format!("{:?}", String::from_utf8_lossy(s));
    match attr {
        Attr::Int(i) => i.to_string(),
        Attr::Float(x) => x.to_string(),
        Attr::Str(s) => text(s),
        Attr::Ints(v) => format!("{v:?}"),
        Attr::Floats(v) => format!("{v:?}"),
        Attr::Strs(v) => format!("[{}]", v.iter().map(text).collect::<Vec<_>>().join(", ")),
        other => format!("{:?}", other.kind()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_compare_as_float32() {
        assert!(equals(&Attr::Float(0.1), &Literal::Float(0.1f64 as f32)));
        assert!(equals(&Attr::Float(2.0), &Literal::Int(2)));
        assert!(!equals(&Attr::Int(2), &Literal::Float(2.0)));
        assert!(equals(&Attr::Floats(vec![1.0, 2.0]), &Literal::Ints(vec![1, 2])));
        assert!(equals(&Attr::Strs(Vec::new()), &Literal::Ints(Vec::new())));
    }
}
