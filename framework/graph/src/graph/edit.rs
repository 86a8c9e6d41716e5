//! Changing what nodes use.

use super::{Graph, NodeId, Slot, Use, ValueId};

impl Graph {
    pub fn set_input(&mut self, node: NodeId, i: usize, value: Option<ValueId>) {
        let use_ = Use { node, slot: Slot::Input(i as u32) };
        if let Some(old) = self.net[node].input(i) {
            self.forget_use(old, use_);
        }
        let inputs = &mut self.net[node].inputs;
        if inputs.len() <= i {
            inputs.resize(i + 1, None);
        }
        inputs[i] = value;
        if let Some(new) = value {
            self.record_use(new, use_);
        }
    }

    /// Makes every node and graph output that uses `old` use `new` instead. A body that captured `old`
    /// by name has to be told by its caller.
    pub fn replace_uses(&mut self, old: ValueId, new: ValueId) {
        for use_ in self.value(old).uses.clone() {
            match use_.slot {
                Slot::Input(i) => self.set_input(use_.node, i as usize, Some(new)),
                Slot::Capture(i) => {
                    self.forget_use(old, use_);
                    self.net[use_.node].captures[i as usize] = new;
                    self.record_use(new, use_);
                }
            }
        }
        for output in &mut self.outputs {
            if *output == old {
                *output = new;
            }
        }
    }

    /// Replaces the list of outer values that the bodies of a node use.
    pub fn set_captures(&mut self, node: NodeId, captures: Vec<ValueId>) {
        for (i, old) in std::mem::take(&mut self.net[node].captures).into_iter().enumerate() {
            self.forget_use(old, Use { node, slot: Slot::Capture(i as u32) });
        }
        for (i, &new) in captures.iter().enumerate() {
            self.record_use(new, Use { node, slot: Slot::Capture(i as u32) });
        }
        self.net[node].captures = captures;
    }
}
