//! Which steps have to wait for which, where steps are enqueued rather than done.
//!
//! Two steps conflict where one writes what the other touches. A queue does its steps in order, and the host
//! enqueues them in the program's; everything else needs an event. Vector clocks (Fidge 1988, Mattern 1989) over
//! the host and all queues leave out events that others imply.

use std::ops::Range;

use smallvec::SmallVec;

use super::{Queue, Space, device_of};
use crate::memory::StorageIndex;

/// A piece of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Arena(Space, Range<usize>),
    /// Memory of its own.
    Storage(StorageIndex),
}

#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub what: What,
    pub writes: bool,
}

/// What a step touches, and where it runs; without a queue it is done when the host goes on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Touch {
    pub queue: Option<Queue>,
    pub accesses: SmallVec<[Access; 4]>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StepOrder {
    /// Steps whose events come first.
    pub waits: SmallVec<[usize; 2]>,
    /// Somebody waits for this one.
    pub records: bool,
}

/// By queue: one more than the last step that is known to be done.
type Clock = SmallVec<[usize; 4]>;

/// Whether a step with this queue may leave waiting to its device, rather than let the host wait.
pub(crate) fn waits_on_device(queue: Option<Queue>, other: Queue) -> bool {
    queue.is_some_and(|queue| device_of(queue) == device_of(other))
}

/// The events between steps; empty where no step is enqueued.
pub(crate) fn order(steps: &[Touch]) -> Vec<StepOrder> {
    let Some(count) = steps.iter().filter_map(|s| s.queue).max().map(|last| last + 1) else {
        return Vec::new();
    };
    let mut orders = vec![StepOrder::default(); steps.len()];
    let mut host: Clock = SmallVec::from_elem(0, count);
    let mut queues = vec![host.clone(); count];
    // Steps that the host does not know to be done, each with what is done when it is.
    let mut pending: Vec<(usize, Queue, Clock)> = Vec::new();
    for (i, step) in steps.iter().enumerate() {
        let mut clock = step.queue.map_or_else(|| host.clone(), |queue| queues[queue].clone());
        learn(&mut clock, &host);
        for (before, queue, done) in pending.iter().rev() {
            if step.queue == Some(*queue) || clock[*queue] > *before || !conflict(step, &steps[*before]) {
                continue;
            }
            orders[i].waits.push(*before);
            orders[*before].records = true;
            learn(&mut clock, done);
            if !waits_on_device(step.queue, *queue) {
                learn(&mut host, done);
            }
        }
        if let Some(queue) = step.queue {
            clock[queue] = i + 1;
            queues[queue].clone_from(&clock);
            pending.push((i, queue, clock));
        }
        pending.retain(|(before, queue, _)| host[*queue] <= *before);
    }
    orders
}

fn learn(clock: &mut Clock, other: &Clock) {
    clock.iter_mut().zip(other).for_each(|(known, new)| *known = (*known).max(*new));
}

fn conflict(a: &Touch, b: &Touch) -> bool {
    let meet = |a: &Access, b: &Access| (a.writes || b.writes) && overlap(&a.what, &b.what);
    a.accesses.iter().any(|a| b.accesses.iter().any(|b| meet(a, b)))
}

fn overlap(a: &What, b: &What) -> bool {
    match (a, b) {
        (What::Arena(a, x), What::Arena(b, y)) => a == b && x.start < y.end && y.start < x.end,
        (What::Storage(a), What::Storage(b)) => a == b,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn touch(queue: Option<Queue>, reads: &[StorageIndex], writes: &[StorageIndex]) -> Touch {
        let access = |writes| move |&s: &StorageIndex| Access { what: What::Storage(s), writes };
        let accesses = reads.iter().map(access(false)).chain(writes.iter().map(access(true)));
        Touch { queue, accesses: accesses.collect() }
    }

    #[test]
    fn in_out_and_back_needs_an_event_at_each_crossing() {
        let (compute, transfer) = (0, 1);
        let steps = [
            touch(Some(transfer), &[0], &[1]),
            touch(Some(compute), &[1], &[2]),
            touch(Some(transfer), &[2], &[3]),
            touch(None, &[3], &[4]),
        ];
        let waits: Vec<Vec<usize>> = order(&steps).iter().map(|o| o.waits.to_vec()).collect();
        assert_eq!(waits, [vec![], vec![0], vec![1], vec![2]]);
    }

    #[test]
    fn an_event_that_another_implies_is_left_out() {
        // The copy out is behind the region, which is behind the copy in; the host overwrites what was copied in.
        let steps = [
            touch(Some(1), &[0], &[1]),
            touch(Some(0), &[1], &[2]),
            touch(Some(1), &[2], &[3]),
            touch(None, &[3], &[0]),
        ];
        assert_eq!(order(&steps)[3].waits[..], [2]);
        assert!(order(&steps[3..]).is_empty());
    }

    proptest! {
        /// Whatever the steps are, every conflict is ordered by queues and events.
        #[test]
        fn no_conflict_is_left_to_chance(
            all in proptest::collection::vec(
                (proptest::option::of(0usize..4), proptest::collection::vec((0usize..6, any::<bool>()), 1..4)),
                1..30,
            )
        ) {
            let steps: Vec<Touch> = all.iter().map(|(queue, accesses)| Touch {
                queue: *queue,
                accesses: accesses.iter()
                    .map(|&(s, writes)| Access { what: What::Storage(s), writes })
                    .collect(),
            }).collect();
            let mut orders = order(&steps);
            orders.resize(steps.len(), StepOrder::default());
            // `done[i]`: steps that have completed before step i begins.
            let mut done: Vec<Vec<bool>> = Vec::new();
            let mut host = vec![false; steps.len()];
            for (i, step) in steps.iter().enumerate() {
                let mut mine = host.clone();
                let merge = |into: &mut Vec<bool>, t: usize, done: &[Vec<bool>]| {
                    into.iter_mut().zip(&done[t]).for_each(|(a, b)| *a |= b);
                    into[t] = true;
                };
                for (t, other) in steps[..i].iter().enumerate() {
                    if other.queue.is_none() || other.queue == step.queue {
                        merge(&mut mine, t, &done);
                    }
                }
                for &t in &orders[i].waits {
                    prop_assert!(orders[t].records);
                    merge(&mut mine, t, &done);
                    let queue = steps[t].queue.expect("only enqueued steps have events");
                    if !waits_on_device(step.queue, queue) {
                        merge(&mut host, t, &done);
                    }
                }
                for (t, other) in steps[..i].iter().enumerate() {
                    prop_assert!(mine[t] || !conflict(step, other), "{t} and {i}");
                }
                if step.queue.is_none() {
                    host.clone_from(&mine);
                }
                done.push(mine);
            }
        }
    }
}
