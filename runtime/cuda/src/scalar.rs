//! Operators that work element by element: a table from operator to expression.
//!
//! `a` to `e` are the operands, `T` is the type that they are computed in, `$name` is an attribute. Functions are CUDA's
//! or the prelude's.

use crate::types::Kind;

/// What an operator does with elements.
#[derive(Debug)]
pub struct Scalar {
    pub op: &'static str,
    pub arity: usize,
    /// The kinds of elements that it is for.
    pub on: &'static [Kind],
    pub gives: Gives,
    pub text: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gives {
    /// The type of the operands.
    Same,
    Bool,
}

const FLOATS: &[Kind] = &[Kind::Float];
const INTS: &[Kind] = &[Kind::Int];
const NUMBERS: &[Kind] = &[Kind::Float, Kind::Int];
const BOOLS: &[Kind] = &[Kind::Bool];
const ALL: &[Kind] = &[Kind::Float, Kind::Int, Kind::Bool];

const fn same(op: &'static str, arity: usize, on: &'static [Kind], text: &'static str) -> Scalar {
    Scalar { op, arity, on, gives: Gives::Same, text }
}

const fn test(op: &'static str, arity: usize, on: &'static [Kind], text: &'static str) -> Scalar {
    Scalar { op, arity, on, gives: Gives::Bool, text }
}

#[rustfmt::skip]
const SCALARS: &[Scalar] = &[
    same("Abs", 1, FLOATS, "fabs(a)"),
    same("Abs", 1, INTS, "a < 0 ? (T)-a : a"),
    same("Acos", 1, FLOATS, "acos(a)"),
    same("Acosh", 1, FLOATS, "acosh(a)"),
    same("Asin", 1, FLOATS, "asin(a)"),
    same("Asinh", 1, FLOATS, "asinh(a)"),
    same("Atan", 1, FLOATS, "atan(a)"),
    same("Atanh", 1, FLOATS, "atanh(a)"),
    same("Ceil", 1, FLOATS, "ceil(a)"),
    same("Celu", 1, FLOATS, "a < 0 ? $alpha * expm1(a / $alpha) : a"),
    same("Cos", 1, FLOATS, "cos(a)"),
    same("Cosh", 1, FLOATS, "cosh(a)"),
    same("Elu", 1, FLOATS, "a < 0 ? $alpha * expm1(a) : a"),
    same("Erf", 1, FLOATS, "erf(a)"),
    same("Exp", 1, FLOATS, "exp(a)"),
    same("Floor", 1, FLOATS, "floor(a)"),
    same("Gelu", 1, FLOATS, "(T)0.5 * a * ((T)1 + erf(a * (T)0.70710678118654752440))"),
    same("Gelu:tanh", 1, FLOATS,
         "(T)0.5 * a * ((T)1 + tanh((T)0.79788456080286535588 * (a + (T)0.044715 * a * a * a)))"),
    same("HardSigmoid", 1, FLOATS, "smaller_of(greater_of($alpha * a + $beta, (T)0), (T)1)"),
    same("HardSwish", 1, FLOATS, "a * smaller_of(greater_of(a / (T)6 + (T)0.5, (T)0), (T)1)"),
    test("IsNaN", 1, FLOATS, "a != a"),
    same("LeakyRelu", 1, FLOATS, "a < 0 ? $alpha * a : a"),
    same("Log", 1, FLOATS, "log(a)"),
    same("Mish", 1, FLOATS, "a * tanh(greater_of(a, (T)0) + log1p(exp(-fabs(a))))"),
    same("Neg", 1, NUMBERS, "-a"),
    test("Not", 1, BOOLS, "!a"),
    same("Reciprocal", 1, FLOATS, "(T)1 / a"),
    same("Relu", 1, NUMBERS, "a < 0 ? (T)0 : a"),
    same("Round", 1, FLOATS, "rint(a)"),
    same("Selu", 1, FLOATS, "$gamma * (a < 0 ? $alpha * expm1(a) : a)"),
    same("Sigmoid", 1, FLOATS, "(T)1 / ((T)1 + exp(-a))"),
    same("Sign", 1, FLOATS, "a > 0 ? (T)1 : a < 0 ? (T)-1 : a"),
    same("Sign", 1, INTS, "a > 0 ? (T)1 : a < 0 ? (T)-1 : (T)0"),
    same("Sin", 1, FLOATS, "sin(a)"),
    same("Sinh", 1, FLOATS, "sinh(a)"),
    same("Softplus", 1, FLOATS, "greater_of(a, (T)0) + log1p(exp(-fabs(a)))"),
    same("Softsign", 1, FLOATS, "a / ((T)1 + fabs(a))"),
    same("Sqrt", 1, FLOATS, "sqrt(a)"),
    same("Swish", 1, FLOATS, "a / ((T)1 + exp(-$alpha * a))"),
    same("Tan", 1, FLOATS, "tan(a)"),
    same("Tanh", 1, FLOATS, "tanh(a)"),
    same("ThresholdedRelu", 1, FLOATS, "a > $alpha ? a : (T)0"),
    same("Add", 2, NUMBERS, "a + b"),
    same("Sub", 2, NUMBERS, "a - b"),
    same("Mul", 2, NUMBERS, "a * b"),
    same("Div", 2, NUMBERS, "divide(a, b)"),
    same("Pow", 2, FLOATS, "pow(a, b)"),
    same("Max", 2, NUMBERS, "greater_of(a, b)"),
    same("Min", 2, NUMBERS, "smaller_of(a, b)"),
    same("Mod", 2, INTS, "modulo(a, b)"),
    same("Mod:fmod", 2, FLOATS, "fmod(a, b)"),
    same("PRelu", 2, FLOATS, "a < 0 ? b * a : a"),
    same("And", 2, BOOLS, "a && b"),
    same("Or", 2, BOOLS, "a || b"),
    same("Xor", 2, BOOLS, "a != b"),
    test("Equal", 2, ALL, "a == b"),
    test("Less", 2, NUMBERS, "a < b"),
    test("LessOrEqual", 2, NUMBERS, "a <= b"),
    test("Greater", 2, NUMBERS, "a > b"),
    test("GreaterOrEqual", 2, NUMBERS, "a >= b"),
    same("BatchNormalization", 5, FLOATS, "(a - d) / sqrt(e + $epsilon) * b + c"),
];

/// The row of an operator for a kind of elements.
pub fn find(op: &str, kind: Kind) -> Option<&'static Scalar> {
    SCALARS.iter().find(|row| row.op == op && row.on.contains(&kind))
}

impl Scalar {
    /// The expression with operands, type and attributes in their places.
    pub fn write(&self, operands: &[String], ty: &str, attribute: impl Fn(&str) -> String) -> String {
        let (mut text, mut rest) = (String::new(), self.text);
        while let Some(first) = rest.chars().next() {
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$' || c == '.';
            let end = if is_word(first) { rest.find(|c| !is_word(c)).unwrap_or(rest.len()) } else { 1 };
            let (word, after) = rest.split_at(end);
            match (word, word.strip_prefix('$')) {
                (_, Some(name)) => text += &attribute(name),
                ("T", _) => text += ty,
                ("a" | "b" | "c" | "d" | "e", _) => {
                    let place = usize::from(word.as_bytes()[0] - b'a');
                    text += operands.get(place).map_or(word, String::as_str);
                }
                _ => text += word,
            }
            rest = after;
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operands_types_and_attributes_take_their_places() {
        let celu = find("Celu", Kind::Float).unwrap();
        let written = celu.write(&["v1".into()], "float", |name| format!("<{name}>"));
        assert_eq!(written, "v1 < 0 ? <alpha> * expm1(v1 / <alpha>) : v1");
        let norm = find("BatchNormalization", Kind::Float).unwrap();
        let operands = ["p", "q", "r", "s", "t"].map(str::to_owned);
        assert_eq!(norm.write(&operands, "float", |_| "k".into()), "(p - s) / sqrt(t + k) * q + r");
        assert!(find("Exp", Kind::Int).is_none() && find("Add", Kind::Bool).is_none());
    }

    #[test]
    fn every_row_uses_as_many_operands_as_it_has() {
        for row in SCALARS {
            let operands: Vec<String> = (0..row.arity).map(|i| format!("#{i}")).collect();
            let written = row.write(&operands, "t", |_| "k".into());
            assert!(operands.iter().all(|operand| written.contains(operand)), "{}", row.op);
        }
    }
}
