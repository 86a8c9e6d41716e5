//! Programs that do without some vendors: those that may be back leave their regions to the host, those that are gone to
//! whoever else takes them.

use std::sync::{Arc, Mutex, PoisonError};

use crate::compile::{Compiled, LeftOut, Placement, place_again};
use crate::loaded::ModelOptions;
use crate::program::Runner;
use crate::vendors::Vendor;
use crate::{Error, Policy};
use byoc_cpu::pool::ThreadPool;

/// The vendors that a program does without.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Without {
    /// Not to be called at the moment.
    pub absent: Vec<String>,
    /// Never to be called again.
    pub gone: Vec<String>,
    /// Regions of the session's own placement that had no room on their device.
    pub regions: Vec<String>,
}

impl Without {
    pub fn is_empty(&self) -> bool {
        self.absent.is_empty() && self.gone.is_empty() && self.regions.is_empty()
    }
}

/// A program, and the placement that it carries out.
#[derive(Clone)]
pub(crate) struct Standby {
    pub runner: Arc<Runner>,
    pub placed: Placed,
}

/// A placement on other vendors; `None` where it is the session's.
type Placed = Option<Arc<Compiled>>;

/// Something that is made when it is first needed. Who needs it meanwhile waits, and nobody else does.
type Slot<T> = Arc<Mutex<Option<T>>>;

/// One of each kind.
type Slots<K, T> = Mutex<Vec<(K, Slot<T>)>>;

/// What has been made so far.
#[derive(Default)]
pub(crate) struct Standbys {
    /// For runs that give no input with a default, and for the others.
    programs: Slots<(Without, bool), Standby>,
    placements: Slots<Vec<String>, Placed>,
}

/// What placements are made of.
pub(crate) struct Parts<'a> {
    pub compiled: &'a Compiled,
    pub vendors: &'a [Vendor],
    pub options: &'a ModelOptions,
    pub placement: &'a Placement,
    pub pool: &'a Arc<ThreadPool>,
}

fn slot<K: PartialEq + Clone, T>(slots: &Slots<K, T>, key: &K) -> Slot<T> {
    let mut slots = slots.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, slot)) = slots.iter().find(|(known, _)| known == key) {
        return slot.clone();
    }
    let slot = Slot::default();
    slots.push((key.clone(), slot.clone()));
    slot
}

fn filled<T: Clone>(slot: &Slot<T>, make: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let mut content = slot.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(made) = &*content {
        return Ok(made.clone());
    }
    let made = make()?;
    *content = Some(made.clone());
    Ok(made)
}

impl Standbys {
    /// The program that does without these vendors; `build` makes one of a placement, without those that are absent. If
    /// `settled`, inputs with defaults are not given.
    pub fn get(
        &self,
        (without, settled): (&Without, bool),
        parts: &Parts<'_>,
        build: impl FnOnce(&Compiled, &LeftOut) -> Result<Runner, Error>,
    ) -> Result<Standby, Error> {
        filled(&slot(&self.programs, &(without.clone(), settled)), || {
            let placed = filled(&slot(&self.placements, &without.gone), || Ok(parts.without(&without.gone)))?;
            let (absent, gone) = (&without.absent[..], &without.gone[..]);
            let runner = match &placed {
                // Its regions are others.
                Some(placed) => build(placed, &LeftOut { vendors: absent.to_vec(), regions: Vec::new() })?,
                None => {
                    let left_out =
                        LeftOut { vendors: [absent, gone].concat(), regions: without.regions.clone() };
                    build(parts.compiled, &left_out)?
                }
            };
            Ok(Standby { runner: Arc::new(runner), placed })
        })
    }
}

impl Parts<'_> {
    /// The model placed on the vendors that are left, where there are any and nothing settles the placement.
    fn without(&self, gone: &[String]) -> Placed {
        let is_left = |vendor: &&Vendor| !gone.iter().any(|name| name == vendor.name());
        let left: Vec<Vendor> = self.vendors.iter().filter(is_left).cloned().collect();
        let is_settled = self.placement.plan.is_some();
        if gone.is_empty() || is_settled || left.iter().all(|vendor| vendor.plugin.is_none()) {
            return None;
        }
        let placement = Placement {
            // There is no time to measure.
            policy: self.placement.policy.filter(|policy| *policy != Policy::Measured),
            force: self.placement.force.iter().filter(|(_, to)| !gone.contains(to)).cloned().collect(),
            ..self.placement.clone()
        };
        // Where it cannot be placed, the host runs it.
        place_again(self.compiled, &left, self.options, &placement, self.pool).ok().map(Arc::new)
    }
}

/// Who runs what a vendor ran, in words.
pub(crate) fn heirs(before: &Compiled, after: Option<&Compiled>, vendor: &str) -> String {
    let lost = before.placed.report.regions.iter().filter(|region| region.vendor == vendor);
    let lost: Vec<_> =
        lost.flat_map(|region| region.nodes.iter().map(|node| (&region.graph, node))).collect();
    let regions = after.map_or(&[][..], |after| &after.placed.report.regions);
    let mut names: Vec<&str> = Vec::new();
    for region in regions {
        let takes = region.nodes.iter().any(|node| lost.contains(&(&region.graph, node)));
        if takes && !names.contains(&region.vendor.as_str()) {
            names.push(&region.vendor);
        }
    }
    let taken = |at: &(&String, &String)| regions.iter().any(|r| r.graph == *at.0 && r.nodes.contains(at.1));
    if names.is_empty() || !lost.iter().all(taken) {
        names.push("the host");
    }
    let verb = if names.len() == 1 { "runs" } else { "run" };
    format!("{} {verb} its regions", names.join(" and "))
}
