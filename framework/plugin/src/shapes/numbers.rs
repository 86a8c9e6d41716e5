//! Whole numbers that a region computes of shapes: targets of Reshape, as exporters write them.

use serde::{Deserialize, Serialize};

use crate::sdk::{DType, Node, Region, Value};

/// A whole number, or the size of a value along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Number {
    Known(i64),
    Size(usize, usize),
}

/// The int64 values of a region of which every element is constant or a size.
#[derive(Debug, Clone)]
pub struct Numbers(Vec<Option<Vec<Number>>>);

/// A target has few dimensions; nobody wants long lists.
const MOST: usize = 64;

impl Numbers {
    pub fn of(region: &Region<'_>) -> Numbers {
        let constant = |value: &Value<'_>| {
            Some(value.constant_as::<i64>()?.iter().copied().map(Number::Known).collect())
        };
        let mut numbers = Numbers(region.values.iter().map(constant).collect());
        for node in &region.nodes {
            if let Some(Some(value)) = node.outputs.first().copied()
                && is_number(region, value)
            {
                numbers.0[value] = numbers.made_by(region, node).filter(|made| made.len() <= MOST);
            }
        }
        numbers
    }

    pub fn get(&self, value: usize) -> Option<&[Number]> {
        self.0.get(value)?.as_deref()
    }

    fn made_by(&self, region: &Region<'_>, node: &Node<'_>) -> Option<Vec<Number>> {
        let input = |i: usize| Some(self.get(node.inputs.get(i).copied().flatten()?)?.to_vec());
        match node.op {
            "Shape" if node.attr_int("start").unwrap_or(0) == 0 && node.attr_int("end").is_none() => {
                let of = region.input(node, 0)?;
                Some((0..of.rank()?).map(|axis| Number::Size(of.index, axis)).collect())
            }
            "Unsqueeze" => input(0).filter(|numbers| numbers.len() == 1),
            "Concat" => Some((0..node.inputs.len()).map(input).collect::<Option<Vec<_>>>()?.concat()),
            "Gather" => {
                let all = input(0)?;
                let place = |at: i64| usize::try_from(super::from_front(at, all.len())).ok();
                let chosen = region.input(node, 1)?.constant_as::<i64>()?;
                chosen.iter().map(|&at| all.get(place(at)?).copied()).collect()
            }
            _ => None,
        }
    }

    /// Nodes with whole numbers that are not known before the region runs, or that somebody else than a Reshape
    /// wants: a vendor that computes no whole numbers refuses these and takes the rest.
    pub fn loose_nodes(region: &Region<'_>) -> Vec<usize> {
        let known = Numbers::of(region);
        let mut wanted: Vec<bool> = (0..region.values.len()).map(|value| region.is_output(value)).collect();
        let mut loose = Vec::new();
        for node in region.nodes.iter().rev() {
            let number = |value: &&usize| is_number(region, **value);
            let mut made = node.outputs.iter().flatten().filter(number);
            let mut all = node.inputs.iter().chain(&node.outputs).flatten().filter(number);
            if made.any(|&value| wanted[value]) || all.any(|&value| known.get(value).is_none()) {
                loose.push(node.index);
                node.inputs.iter().flatten().for_each(|&value| wanted[value] = true);
            }
        }
        loose
    }
}

fn is_number(region: &Region<'_>, value: usize) -> bool {
    region.value(value).dtype == Some(DType::I64)
}
