//! The order of loads, work and stores.

use crate::isa::Command;

/// A piece of a layer that fits the scratchpad.
#[derive(Debug, Default)]
pub struct Step {
    pub load: Vec<Command>,
    pub work: Vec<Command>,
    pub store: Vec<Command>,
}

/// With double buffering, the loads of each step stand before the stores of the one before it: the DMA engine works
/// in order, and would otherwise wait for that step's results before it fetched anything for the next.
pub fn schedule(steps: Vec<Step>, double_buffer: bool) -> Vec<Command> {
    let mut commands = Vec::new();
    let mut pending: Option<Step> = None;
    for mut step in steps {
        if double_buffer {
            commands.append(&mut step.load);
        }
        if let Some(previous) = pending.replace(step) {
            finish(previous, &mut commands);
        }
    }
    if let Some(last) = pending {
        finish(last, &mut commands);
    }
    commands
}

fn finish(step: Step, commands: &mut Vec<Command>) {
    commands.extend(step.load);
    commands.extend(step.work);
    commands.extend(step.store);
}
