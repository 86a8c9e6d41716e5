//! What of the end of a product a library can do: a factor, a bias for each column or channel, an addend of the same shape, and an
//! activation.

use crate::multiply::Activation;
use crate::pointwise::{Align, Expr, Operand, Pointwise, Typed};

/// `activation(alpha · fresh + beta · addend + bias)`; operands by their place in the expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Epilogue {
    pub alpha: f64,
    pub beta: f64,
    pub bias: Option<usize>,
    pub addend: Option<usize>,
    pub activation: Activation,
}

impl Epilogue {
    /// Nothing behind a product.
    pub const BARE: Epilogue =
        Epilogue { alpha: 1.0, beta: 0.0, bias: None, addend: None, activation: Activation::None };
}

/// Reads an expression as an epilogue, where it is one. `shapes` are those of its operands; a bias has a number for each
/// place along the axis that is `channels` from the output's end.
pub fn of(tail: &Pointwise, shapes: &[&[usize]], output: &[usize], channels: usize) -> Option<Epilogue> {
    let (activation, sum) = match &tail.root.expr {
        Expr::Apply { row, arguments, .. } if row.op == "Relu" => (Activation::Relu, &arguments[0]),
        Expr::Apply { row, arguments, .. } if row.op == "Gelu:tanh" => (Activation::Gelu, &arguments[0]),
        _ => (Activation::None, &tail.root),
    };
    let mut found = Epilogue { alpha: 0.0, beta: 0.0, bias: None, addend: None, activation };
    let mut terms = Vec::new();
    flatten(sum, &mut terms);
    for term in terms {
        match scaled(term) {
            (factor, Expr::Fresh) if found.alpha == 0.0 && factor != 0.0 => found.alpha = factor,
            (factor, Expr::Read(place)) => {
                let (operand, shape) = (&tail.operands[*place], shapes[*place]);
                if operand.dtype != tail.root.dtype {
                    return None;
                }
                if is_whole(operand, shape, output) && found.addend.is_none() && factor != 0.0 {
                    (found.addend, found.beta) = (Some(*place), factor);
                } else if is_by_channel(operand, shape, output, channels)
                    && found.bias.is_none()
                    && factor == 1.0
                {
                    found.bias = Some(*place);
                } else {
                    return None;
                }
            }
            _ => return None,
        }
    }
    (found.alpha != 0.0).then_some(found)
}

fn flatten<'e>(typed: &'e Typed, terms: &mut Vec<&'e Typed>) {
    match &typed.expr {
        Expr::Apply { row, arguments, .. } if row.op == "Add" => {
            arguments.iter().for_each(|argument| flatten(argument, terms));
        }
        _ => terms.push(typed),
    }
}

/// A term with the number that it is multiplied by.
fn scaled(term: &Typed) -> (f64, &Expr) {
    if let Expr::Apply { row, arguments, .. } = &term.expr
        && row.op == "Mul"
    {
        match [&arguments[0].expr, &arguments[1].expr] {
            [Expr::Literal(factor), other] | [other, Expr::Literal(factor)] => return (*factor, other),
            _ => {}
        }
    }
    (1.0, &term.expr)
}

/// Whether an operand has an element of its own for each of the output.
fn is_whole(operand: &Operand, shape: &[usize], output: &[usize]) -> bool {
    let missing = output.len().checked_sub(shape.len());
    let fits =
        |missing: usize| output[..missing].iter().all(|size| *size == 1) && output[missing..] == *shape;
    operand.align == Align::Trailing && missing.is_some_and(fits)
}

/// Whether an operand has an element for each place along an axis.
fn is_by_channel(operand: &Operand, shape: &[usize], output: &[usize], channels: usize) -> bool {
    let from_end = |sizes: &[usize]| sizes.len().checked_sub(channels).map(|axis| sizes[axis]);
    let Some(size) = from_end(output) else { return false };
    let lies = match operand.align {
        Align::Trailing => from_end(shape) == Some(size),
        Align::FromEnd(axis) => axis == channels,
    };
    lies && shape.iter().product::<usize>() == size && output.len() > 1
}

#[cfg(test)]
mod tests {
    use byoc_plugin::DType;

    use super::*;
    use crate::scalar;
    use crate::types::Kind;

    fn apply(op: &str, parts: Vec<Pointwise>) -> Pointwise {
        let row = scalar::find(op, Kind::Float).unwrap();
        Pointwise::join(parts, DType::F16, |arguments| Expr::Apply { row, attributes: vec![], arguments })
    }

    fn read(value: usize) -> Pointwise {
        Pointwise::read(Operand { value, dtype: DType::F16, align: Align::Trailing })
    }

    #[test]
    fn sums_with_a_bias_and_an_addend_are_epilogues_and_others_are_not() {
        let fresh = || Pointwise::fresh(DType::F16);
        let half = || Pointwise::literal(0.5, DType::F16);
        let sum =
            apply("Add", vec![apply("Add", vec![apply("Mul", vec![fresh(), half()]), read(7)]), read(8)]);
        let shapes: [&[usize]; 2] = [&[5], &[4, 5]];
        let expected =
            Epilogue { alpha: 0.5, beta: 1.0, bias: Some(0), addend: Some(1), activation: Activation::Relu };
        let whole = apply("Relu", vec![sum.clone()]);
        assert_eq!(of(&whole, &shapes, &[4, 5], 1), Some(expected));
        // The addend comes behind the activation; by the row; a bias that is scaled; nothing of the product.
        let late = apply("Add", vec![apply("Relu", vec![fresh()]), read(8)]);
        assert_eq!(of(&late, &[&[4, 5]], &[4, 5], 1), None);
        let by_row = apply("Add", vec![fresh(), read(7)]);
        assert_eq!(of(&by_row, &[&[4, 1]], &[4, 5], 1), None);
        let scaled = apply("Add", vec![fresh(), apply("Mul", vec![read(7), half()])]);
        assert_eq!(of(&scaled, &[&[5]], &[4, 5], 1), None);
        assert_eq!(of(&read(7), &[&[4, 5]], &[4, 5], 1), None);
        let exact = apply("Gelu", vec![fresh()]);
        assert_eq!(of(&exact, &[], &[4, 5], 1), None);
        // Channels that lie before the sizes of an image.
        let found = of(&by_row, &[&[4, 1, 1]], &[2, 4, 5, 6], 3).expect("a bias by channel");
        assert_eq!((found.bias, found.addend), (Some(0), None));
        assert_eq!(of(&by_row, &[&[6]], &[2, 4, 5, 6], 3), None);
    }
}
