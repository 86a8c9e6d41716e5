//! Windows of convolutions and poolings.

use serde::{Deserialize, Serialize};

use crate::sdk::{Error, Node, Result};

/// A window that slides over the axes behind batch and channels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Window {
    pub kernel: Vec<i64>,
    pub strides: Vec<i64>,
    pub dilations: Vec<i64>,
    pub pads: Pads,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Pads {
    /// In front and behind.
    Given(Vec<i64>, Vec<i64>),
    /// As many as make the output ⌈input / stride⌉; the odd one behind, or in front.
    Same { behind: bool },
}

/// A window over sizes that are known: padding in front and behind, and the sizes of what comes out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Placed {
    pub begin: Vec<i64>,
    pub end: Vec<i64>,
    pub sizes: Vec<i64>,
}

impl Window {
    /// The window of a node, over as many axes as its kernel has.
    pub fn of(node: &Node<'_>, kernel: Vec<i64>) -> Result<Window> {
        let n = kernel.len();
        let ints = |name: &str, count: usize| node.attr_ints(name).filter(|values| values.len() == count);
        let each = |name: &str| ints(name, n).map_or(vec![1; n], <[i64]>::to_vec);
        let pads = match node.attr_str("auto_pad") {
            Some("SAME_UPPER") => Pads::Same { behind: true },
            Some("SAME_LOWER") => Pads::Same { behind: false },
            Some("VALID") => Pads::Given(vec![0; n], vec![0; n]),
            _ => {
                let (begin, end) = ints("pads", 2 * n).map_or((&[][..], &[][..]), |pads| pads.split_at(n));
                let all = |pads: &[i64]| if pads.is_empty() { vec![0; n] } else { pads.to_vec() };
                Pads::Given(all(begin), all(end))
            }
        };
        let window = Window { kernel, strides: each("strides"), dilations: each("dilations"), pads };
        let sizes = [&window.kernel, &window.strides, &window.dilations];
        if sizes.iter().any(|sizes| sizes.iter().any(|&size| !(1..=MOST).contains(&size))) {
            return Err(Error::unsupported("a window with a size out of bounds").at_node(node.index));
        }
        Ok(window)
    }

    /// One that covers all of these sizes.
    pub fn whole(sizes: &[i64]) -> Window {
        let (ones, none) = (vec![1; sizes.len()], vec![0; sizes.len()]);
        let pads = Pads::Given(none.clone(), none);
        Window { kernel: sizes.to_vec(), strides: ones.clone(), dilations: ones, pads }
    }

    /// From the first tap to the last.
    fn reach(&self, axis: usize) -> i64 {
        (self.kernel[axis] - 1) * self.dilations[axis] + 1
    }

    /// Over an input of these sizes.
    pub fn slide(&self, input: &[i64]) -> Placed {
        let mut placed = Placed::default();
        for (i, &size) in input.iter().enumerate() {
            let (begin, end) = match &self.pads {
                Pads::Given(begin, end) => (begin[i], end[i]),
                Pads::Same { behind } => {
                    let outputs = (size + self.strides[i] - 1) / self.strides[i];
                    halves(((outputs - 1) * self.strides[i] + self.reach(i) - size).max(0), *behind)
                }
            };
            placed.sizes.push((size + begin + end - self.reach(i)) / self.strides[i] + 1);
            placed.begin.push(begin);
            placed.end.push(end);
        }
        placed
    }

    /// As [`Window::slide`] for a transposed convolution, with padding of the output and perhaps the sizes that it is
    /// to have. The end is counted such that the output is the input's reach without both, and may be negative;
    /// `None` where the beginning would be.
    pub fn spread(&self, input: &[i64], more: &[i64], wanted: Option<&[i64]>) -> Option<Placed> {
        let mut placed = Placed::default();
        for (i, &size) in input.iter().enumerate() {
            let reach = (size - 1) * self.strides[i] + self.reach(i);
            let all = reach + more[i];
            let (begin, out) = match (&self.pads, wanted) {
                (Pads::Given(begin, end), None) => (begin[i], all - begin[i] - end[i]),
                (Pads::Given(..), Some(wanted)) => ((all - wanted[i]) / 2, wanted[i]),
                (Pads::Same { behind }, wanted) => {
                    let out = wanted.map_or(size * self.strides[i], |wanted| wanted[i]);
                    (halves((all - out).max(0), *behind).0, out)
                }
            };
            (begin >= 0).then_some(())?;
            placed.begin.push(begin);
            placed.end.push(reach - begin - out);
            placed.sizes.push(out);
        }
        Some(placed)
    }
}

/// Beyond any window that somebody means: products of two such numbers do not overflow.
const MOST: i64 = 1 << 30;

/// Padding in two parts, the odd one behind or in front.
fn halves(pads: i64, behind: bool) -> (i64, i64) {
    let (less, more) = (pads / 2, pads - pads / 2);
    if behind { (less, more) } else { (more, less) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(kernel: i64, stride: i64, dilation: i64, pads: Pads) -> Window {
        Window { kernel: vec![kernel], strides: vec![stride], dilations: vec![dilation], pads }
    }

    fn placed(begin: i64, end: i64, size: i64) -> Placed {
        Placed { begin: vec![begin], end: vec![end], sizes: vec![size] }
    }

    #[test]
    fn a_window_slides_over_padding_too() {
        let given = Pads::Given(vec![1], vec![0]);
        assert_eq!(window(3, 2, 2, given).slide(&[11]), placed(1, 0, 4));
        assert_eq!(window(2, 2, 1, Pads::Same { behind: true }).slide(&[7]), placed(0, 1, 4));
        assert_eq!(window(2, 2, 1, Pads::Same { behind: false }).slide(&[7]), placed(1, 0, 4));
        assert_eq!(Window::whole(&[7]).slide(&[7]), placed(0, 0, 1));
    }

    #[test]
    fn a_transposed_convolution_spreads_its_input() {
        let given = || Pads::Given(vec![1], vec![1]);
        assert_eq!(window(3, 2, 1, given()).spread(&[5], &[1], None), Some(placed(1, 0, 10)));
        assert_eq!(window(3, 2, 1, given()).spread(&[5], &[0], Some(&[9])), Some(placed(1, 1, 9)));
        assert_eq!(
            window(3, 2, 1, Pads::Same { behind: true }).spread(&[5], &[0], None),
            Some(placed(0, 1, 10))
        );
        assert_eq!(window(1, 1, 1, given()).spread(&[5], &[0], Some(&[9])), None);
    }
}
