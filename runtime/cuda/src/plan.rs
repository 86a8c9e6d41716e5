//! What a program does for inputs of certain shapes: its launches, and where values lie meanwhile.

use byoc_plugin::{Error, Result};

use crate::kernel::{Call, Calls, Launch, Libraries, Slot, Task};
use crate::program::{Action, Program};
use crate::shape::{Shape, elements};

/// Alignment of values in the arena, in bytes.
const ALIGN: u64 = 256;

/// Where a value lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Input(usize),
    Output(usize),
    /// By its place among the program's constants.
    Constant(usize),
    /// Bytes into the arena.
    Arena(u64),
}

#[derive(Debug, PartialEq)]
pub enum Work {
    /// A kernel by its step and its place among the step's sources.
    Launch {
        step: usize,
        source: usize,
        launch: Launch,
        addresses: Vec<Place>,
    },
    /// As `Call::Library` has it.
    Library {
        step: usize,
        task: Task,
        addresses: Vec<Place>,
        workspace: u64,
    },
    Copy {
        from: Place,
        to: Place,
        bytes: u64,
    },
}

impl Work {
    /// The step that it is part of.
    pub fn step(&self) -> Option<usize> {
        match self {
            Work::Launch { step, .. } | Work::Library { step, .. } => Some(*step),
            Work::Copy { .. } => None,
        }
    }
}

#[derive(Debug)]
pub struct Plan {
    pub work: Vec<Work>,
    pub outputs: Vec<Shape>,
    pub arena: u64,
}

impl Plan {
    pub fn new(program: &Program, shapes: &[Option<Shape>], libraries: &dyn Libraries) -> Result<Plan> {
        let mut planner = Planner::new(program, shapes, libraries);
        for index in 0..program.steps.len() {
            planner.step(index)?;
        }
        planner.outputs()?;
        let known = |value: &usize| shapes[*value].clone().ok_or_else(|| unknown(*value));
        let outputs = program.outputs.iter().map(known).collect::<Result<_>>()?;
        Ok(Plan { work: planner.work, outputs, arena: planner.arena.size })
    }

    /// Bytes that its launches read and write at most.
    pub fn traffic(&self, program: &Program, shapes: &[Option<Shape>]) -> f64 {
        let bytes = |value: usize| -> f64 {
            let shape = shapes[value].as_deref().unwrap_or_default();
            program.widths[value] as f64 * shape.iter().map(|size| *size as f64).product::<f64>()
        };
        let copies = self.work.iter().map(|work| match work {
            Work::Copy { bytes, .. } => 2.0 * *bytes as f64,
            _ => 0.0,
        });
        let step = |step: usize| {
            let step = &program.steps[step];
            bytes(step.output) + step.reads().into_iter().map(bytes).sum::<f64>()
        };
        self.steps().map(step).sum::<f64>() + copies.sum::<f64>()
    }

    /// The kernels that are launched, by step and place among its sources.
    pub fn sources(&self) -> Vec<(usize, usize)> {
        let source = |work: &Work| match work {
            Work::Launch { step, source, .. } => Some((*step, *source)),
            _ => None,
        };
        self.work.iter().filter_map(source).collect()
    }

    /// The steps that have work, once each.
    pub fn steps(&self) -> impl Iterator<Item = usize> {
        let mut steps: Vec<usize> = self.work.iter().filter_map(Work::step).collect();
        steps.dedup();
        steps.into_iter()
    }
}

fn unknown(value: usize) -> Error {
    Error::internal(format!("value {value} has no shape"))
}

struct Planner<'p> {
    program: &'p Program,
    shapes: &'p [Option<Shape>],
    /// The value whose memory each value has: itself, but for views.
    roots: Vec<usize>,
    places: Vec<Option<Place>>,
    /// By root: the last step that touches it.
    last: Vec<usize>,
    arena: Arena,
    work: Vec<Work>,
    libraries: &'p dyn Libraries,
}

impl<'p> Planner<'p> {
    fn new(program: &'p Program, shapes: &'p [Option<Shape>], libraries: &'p dyn Libraries) -> Planner<'p> {
        let mut roots: Vec<usize> = (0..program.values).collect();
        let mut last = vec![0; program.values];
        for (index, step) in program.steps.iter().enumerate() {
            if let Action::View(_) = step.action {
                roots[step.output] = roots[step.inputs[0]];
            }
            for value in step.reads().into_iter().chain([step.output]) {
                last[roots[value]] = index;
            }
        }
        let mut places = vec![None; program.values];
        for (place, value) in program.constants.iter().enumerate() {
            places[*value] = Some(Place::Constant(place));
        }
        for (place, value) in program.inputs.iter().enumerate() {
            places[*value] = Some(Place::Input(place));
        }
        // What goes out is made where it is wanted, once; further outputs of the same memory are copied.
        for (place, value) in program.outputs.iter().enumerate() {
            places[roots[*value]].get_or_insert(Place::Output(place));
        }
        Planner { program, shapes, roots, places, last, arena: Arena::default(), work: Vec::new(), libraries }
    }

    fn shape(&self, value: usize) -> Result<&'p [usize]> {
        self.shapes[value].as_deref().ok_or_else(|| unknown(value))
    }

    fn bytes(&self, value: usize) -> Result<u64> {
        Ok((elements(self.shape(value)?)? * self.program.widths[value]) as u64)
    }

    fn step(&mut self, index: usize) -> Result<()> {
        let step = &self.program.steps[index];
        if let Action::Kernel(kernel) = &step.action {
            let inputs = step.inputs.iter().map(|value| self.shape(*value)).collect::<Result<Vec<_>>>()?;
            let output = self.shape(step.output)?;
            if !output.contains(&0) {
                let calls = kernel.calls(&inputs, output, self.libraries)?;
                self.calls(index, calls)?;
            }
        }
        for value in step.reads().into_iter().chain([step.output]) {
            let root = self.roots[value];
            if let Some(Place::Arena(offset)) = self.places[root].filter(|_| self.last[root] == index) {
                self.arena.free(offset, self.bytes(root)?);
                // Freed once, though a step may read a value twice.
                self.last[root] = usize::MAX;
            }
        }
        Ok(())
    }

    /// Gives the calls of a step their places.
    fn calls(&mut self, index: usize, calls: Calls) -> Result<()> {
        let step = &self.program.steps[index];
        let places: Vec<Option<Place>> = {
            let read = step.reads();
            let place = |value: &usize| read.contains(value).then(|| self.place(*value)).transpose();
            step.inputs.iter().map(place).collect::<Result<_>>()?
        };
        let output = self.place(step.output)?;
        let scratch = (calls.scratch > 0).then(|| self.arena.alloc(calls.scratch));
        let place = |slot: &Slot| match *slot {
            Slot::Input(place) => {
                places[place].ok_or_else(|| Error::internal("a call reads what its step does not"))
            }
            Slot::Output => Ok(output),
            Slot::Scratch(offset) => Ok(Place::Arena(scratch.unwrap_or(0) + offset)),
        };
        for call in calls.list {
            self.work.push(match call {
                Call::Launch { source, launch, slots } => {
                    let addresses = slots.iter().map(place).collect::<Result<_>>()?;
                    Work::Launch { step: index, source, launch, addresses }
                }
                Call::Library { task, slots, workspace } => {
                    let addresses = slots.iter().map(place).collect::<Result<_>>()?;
                    Work::Library { step: index, task, addresses, workspace }
                }
            });
        }
        if let Some(scratch) = scratch {
            self.arena.free(scratch, calls.scratch);
        }
        Ok(())
    }

    fn place(&mut self, value: usize) -> Result<Place> {
        let root = self.roots[value];
        if let Some(place) = self.places[root] {
            return Ok(place);
        }
        let place = Place::Arena(self.arena.alloc(self.bytes(root)?));
        self.places[root] = Some(place);
        Ok(place)
    }

    /// Copies what goes out and lies elsewhere.
    fn outputs(&mut self) -> Result<()> {
        for (index, value) in self.program.outputs.iter().enumerate() {
            let (from, to) = (self.place(*value)?, Place::Output(index));
            let bytes = self.bytes(*value)?;
            if from != to && bytes > 0 {
                self.work.push(Work::Copy { from, to, bytes });
            }
        }
        Ok(())
    }
}

/// Offsets by first fit; what is free lies in order, and never next to each other.
#[derive(Default)]
struct Arena {
    free: Vec<(u64, u64)>,
    size: u64,
}

impl Arena {
    fn rounded(bytes: u64) -> u64 {
        bytes.max(1).next_multiple_of(ALIGN)
    }

    fn alloc(&mut self, bytes: u64) -> u64 {
        let bytes = Arena::rounded(bytes);
        if let Some(place) = self.free.iter().position(|(_, size)| *size >= bytes) {
            let (offset, size) = self.free[place];
            match size - bytes {
                0 => drop(self.free.remove(place)),
                rest => self.free[place] = (offset + bytes, rest),
            }
            return offset;
        }
        // The end of the arena may be free: it grows from there.
        let last = self.free.last().copied().filter(|(offset, size)| offset + size == self.size);
        let offset = last.map_or(self.size, |(offset, _)| offset);
        if last.is_some() {
            self.free.pop();
        }
        self.size = offset + bytes;
        offset
    }

    fn free(&mut self, offset: u64, bytes: u64) {
        let bytes = Arena::rounded(bytes);
        let place = self.free.partition_point(|(other, _)| *other < offset);
        self.free.insert(place, (offset, bytes));
        for left in [place, place.saturating_sub(1)] {
            if let [(start, size), (next, more), ..] = self.free[left..]
                && start + size == next
            {
                self.free[left] = (start, size + more);
                self.free.remove(left + 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arena_takes_what_is_free_and_joins_it() {
        let mut arena = Arena::default();
        let [a, b, c] = [100, 300, 256].map(|bytes| arena.alloc(bytes));
        assert_eq!((a, b, c, arena.size), (0, 256, 768, 1024));
        arena.free(a, 100);
        arena.free(b, 300);
        assert_eq!(arena.alloc(700), 0);
        arena.free(c, 256);
        assert_eq!((arena.alloc(1000), arena.size), (768, 1792));
    }
}
