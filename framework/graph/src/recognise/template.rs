//! Templates of decomposed forms, written as one expression.
//!
//! ```text
//! expression = Operator "(" [ argument { "," argument } ] ")"     an operator of the default domain
//! argument   = [ label "@" ] expression | name | "$" name | number | "..."
//! ```
//!
//! A name stands for any value, the same one wherever it occurs; `$name` for a scalar constant, which is
//! read; a number for a scalar constant of that value (to half precision, which some exporters use); `...`
//! for any further inputs. A label gives a node a name, so that its attributes can be looked at. Operands of
//! commutative operators match in both orders. An expression written twice may be one node or two.

use crate::{Graph, Node, NodeId, Tensor, ValueId, schema};

pub(super) enum Template {
    Op { op: &'static str, label: Option<&'static str>, args: Vec<Template>, rest: bool },
    Value(&'static str),
    Scalar(&'static str),
    Number(f64),
}

/// What the parts of a template matched.
#[derive(Clone, Default)]
pub(super) struct Found {
    values: Vec<(&'static str, ValueId)>,
    scalars: Vec<(&'static str, f64)>,
    labels: Vec<(&'static str, NodeId)>,
    pub nodes: Vec<NodeId>,
}

impl Found {
    /// The value that a name of the template stands for.
    pub fn value(&self, name: &str) -> Option<ValueId> {
        self.values.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
    }

    pub fn scalar(&self, name: &str) -> Option<f64> {
        self.scalars.iter().find(|(n, _)| *n == name).map(|(_, x)| *x)
    }

    /// All nodes that carry this label.
    pub fn labelled<'a>(&'a self, graph: &'a Graph, label: &'a str) -> impl Iterator<Item = &'a Node> + 'a {
        self.labels.iter().filter(move |(l, _)| *l == label).map(|(_, id)| graph.node(*id))
    }
}

impl Template {
    /// # Panics
    /// On a template that does not follow the grammar: templates are part of the program.
    pub fn parse(text: &'static str) -> Template {
        let mut rest = text;
        let template = parse(&mut rest);
        assert!(rest.is_empty(), "template `{text}` goes on behind its end: `{rest}`");
        template
    }

    /// The match whose last node is `root`.
    pub fn find(&self, graph: &Graph, root: NodeId) -> Option<Found> {
        let mut found = Found::default();
        self.match_node(graph, root, &mut found).then_some(found)
    }

    fn match_value(&self, graph: &Graph, value: ValueId, found: &mut Found) -> bool {
        match self {
            Template::Op { .. } => {
                let producer = graph.value(value).producer();
                producer.is_some_and(|(node, output)| output == 0 && self.match_node(graph, node, found))
            }
            Template::Value(name) => match found.value(name) {
                Some(bound) => bound == value,
                None => {
                    found.values.push((name, value));
                    true
                }
            },
            Template::Number(wanted) => {
                scalar(graph, value).is_some_and(|got| (got - wanted).abs() <= 1e-3 * wanted.abs())
            }
            Template::Scalar(name) => match (scalar(graph, value), found.scalar(name)) {
                (Some(got), None) => {
                    found.scalars.push((name, got));
                    true
                }
                (Some(got), Some(bound)) => got == bound,
                (None, _) => false,
            },
        }
    }

    fn match_node(&self, graph: &Graph, id: NodeId, found: &mut Found) -> bool {
        let Template::Op { op, label, args, rest } = self else { return false };
        let node = graph.node(id);
        let arity = if *rest { node.inputs().len() >= args.len() } else { node.inputs().len() == args.len() };
        if !node.is(op) || !arity {
            return false;
        }
        if !found.nodes.contains(&id) {
            found.nodes.push(id);
        }
        found.labels.extend(label.map(|l| (l, id)));
        let before = found.clone();
        let mut orders = vec![[0, 1]];
        if args.len() == 2 && is_commutative(op) {
            orders.push([1, 0]);
        }
        for order in orders {
            found.clone_from(&before);
            let at = |i: usize| if i < 2 { order[i] } else { i };
            let matches = |(i, arg): (usize, &Template)| {
                node.input(at(i)).is_some_and(|value| arg.match_value(graph, value, found))
            };
            if args.iter().enumerate().all(matches) {
                return true;
            }
        }
        false
    }
}

fn is_commutative(op: &str) -> bool {
    schema::versions("", op).first().is_some_and(|schema| schema.is_commutative())
}

/// The number, where a value is a constant with one element.
fn scalar(graph: &Graph, value: ValueId) -> Option<f64> {
    let tensor: &Tensor = graph.constant(value)?;
    if tensor.len() != 1 {
        return None;
    }
    tensor.to_f64s()?.first().copied()
}

fn parse(rest: &mut &'static str) -> Template {
    let text = *rest;
    let end = text.find(['(', ',', ')', '@']).unwrap_or(text.len());
    let word = text[..end].trim();
    *rest = &text[end..];
    if let Some(after) = rest.strip_prefix('@') {
        *rest = after;
        let Template::Op { op, args, rest, .. } = parse(rest) else { panic!("a label before no operator") };
        return Template::Op { op, label: Some(word), args, rest };
    }
    if rest.starts_with('(') {
        return parse_op(word, rest);
    }
    match (word.strip_prefix('$'), word.parse()) {
        (Some(name), _) => Template::Scalar(name),
        (None, Ok(number)) => Template::Number(number),
        (None, Err(_)) => Template::Value(word),
    }
}

fn parse_op(op: &'static str, rest: &mut &'static str) -> Template {
    let (mut args, mut further) = (Vec::new(), false);
    while !rest.starts_with(')') {
        *rest = rest[1..].trim_start();
        match rest.strip_prefix("...") {
            Some(after) => (*rest, further) = (after, true),
            None => args.push(parse(rest)),
        }
        assert!(rest.starts_with([',', ')']), "template is not closed at `{rest}`");
    }
    *rest = &rest[1..];
    Template::Op { op, label: None, args, rest: further }
}
