//! Transfers as steps: where a step wants a value in another memory than the one it was made in, it gets a copy,
//! and the copy a step. A value is copied once to each memory, as soon as it is there.

use std::sync::Arc;

use indexmap::IndexMap;
use smallvec::{SmallVec, smallvec};

use super::{Devices, HOST, Space};
use crate::memory::ValueIndex;
use crate::program::{Action, Step};

/// Steps with their transfers.
pub(crate) struct Inserted {
    pub steps: Vec<Step>,
    /// By value, those included that are copies.
    pub spaces: Vec<Space>,
    /// The values that the copies are of; their indices are behind all others.
    pub copies: Vec<ValueIndex>,
}

struct Inserter<'a> {
    devices: &'a Devices,
    spaces: Vec<Space>,
    copies: Vec<ValueIndex>,
    /// By value: its copies by where they lie.
    known: IndexMap<ValueIndex, SmallVec<[(Space, ValueIndex); 2]>>,
}

/// Inserts transfers; `outputs` are the program's, and come to lie in host memory.
pub(crate) fn insert(
    mut steps: Vec<Step>,
    values: usize,
    outputs: &mut [ValueIndex],
    devices: &Devices,
    name: impl Fn(ValueIndex) -> Arc<str>,
) -> Inserted {
    let spaces = vec![HOST; values];
    let mut inserter = Inserter { devices, spaces, copies: Vec::new(), known: IndexMap::new() };
    if devices.iter().next().is_none() {
        return Inserted { steps, spaces: inserter.spaces, copies: inserter.copies };
    }
    for step in &mut steps {
        inserter.redirect(step);
    }
    for output in outputs {
        *output = inserter.at(*output, HOST);
    }
    let copied = vec![false; inserter.spaces.len()];
    let mut emitter = Emitter { inserter: &inserter, values, name: &name, copied, steps: Vec::new() };
    steps.into_iter().for_each(|step| emitter.step(step));
    let steps = emitter.steps;
    Inserted { steps, spaces: inserter.spaces, copies: inserter.copies }
}

impl Inserter<'_> {
    /// Lets a step read its inputs where it wants them.
    fn redirect(&mut self, step: &mut Step) {
        for (i, input) in step.inputs.iter_mut().enumerate() {
            let Some(value) = input else { continue };
            match &step.action {
                // It only looks at the dimensions.
                Action::Alias(_) if i == 0 => {}
                Action::Region(region) => *value = self.at(*value, region.inputs[i]),
                _ => *value = self.at(*value, HOST),
            }
        }
        for (j, output) in step.outputs.iter().enumerate() {
            let Some(output) = output else { continue };
            self.spaces[*output] = match &step.action {
                Action::Alias(_) => step.inputs[0].map_or(HOST, |input| self.spaces[input]),
                Action::Region(region) => region.outputs[j],
                _ => HOST,
            };
        }
    }

    /// The value that is a copy of this one in that memory.
    fn at(&mut self, value: ValueIndex, space: Space) -> ValueIndex {
        if self.spaces[value] == space {
            return value;
        }
        let known = self.known.get(&value).into_iter().flatten().find(|(at, _)| *at == space);
        if let Some((_, copy)) = known {
            return *copy;
        }
        if space != HOST && self.spaces[value] != HOST && !self.devices.are_peers(self.spaces[value], space) {
            let staged = self.at(value, HOST);
            return self.at(staged, space);
        }
        let copy = self.spaces.len();
        self.spaces.push(space);
        self.copies.push(value);
        self.known.entry(value).or_default().push((space, copy));
        copy
    }
}

/// The steps, with each transfer as soon as there is what it copies.
struct Emitter<'a> {
    inserter: &'a Inserter<'a>,
    /// How many values are no copies.
    values: usize,
    name: &'a dyn Fn(ValueIndex) -> Arc<str>,
    copied: Vec<bool>,
    steps: Vec<Step>,
}

impl Emitter<'_> {
    fn step(&mut self, step: Step) {
        // What no step makes, an input or a constant, is copied before its first use.
        for &input in step.inputs.iter().flatten() {
            if input >= self.values {
                self.transfer(input);
            }
        }
        let made = step.outputs.clone();
        self.steps.push(step);
        made.into_iter().flatten().for_each(|value| self.transfers_of(value));
    }

    fn transfers_of(&mut self, value: ValueIndex) {
        let inserter = self.inserter;
        inserter.known.get(&value).into_iter().flatten().for_each(|(_, copy)| self.transfer(*copy));
    }

    /// The transfer that makes a copy, between the one that it copies from and those that copy from it.
    fn transfer(&mut self, copy: ValueIndex) {
        if std::mem::replace(&mut self.copied[copy], true) {
            return;
        }
        let Inserter { copies, spaces, devices, .. } = self.inserter;
        let source = copies[copy - self.values];
        let mut origin = source;
        if source >= self.values {
            self.transfer(source);
            origin = copies[source - self.values];
        }
        let (from, to) = (spaces[source], spaces[copy]);
        self.steps.push(Step {
            label: (self.name)(origin),
            op: "Transfer".into(),
            by: "copy".into(),
            target: "transfer".into(),
            action: Action::Transfer { from, to },
            inputs: smallvec![Some(source)],
            outputs: smallvec![Some(copy)],
            in_place: None,
            release: Vec::new(),
            until: None,
            call: None,
            queue: devices.transfer_queue(from, to),
        });
        self.transfers_of(copy);
    }
}
