//! Times of whole models: several placements of one, run in turn.

use std::time::{Duration, Instant};

use byoc_graph::Datum;

use super::median;
use crate::{Error, Session};

/// Runs of each session that count, at most; and the time after which there are no more.
const ROUNDS: usize = 25;
const LEAST_ROUNDS: usize = 3;
const LONG_ENOUGH: Duration = Duration::from_secs(6);

/// Microseconds of one run by each session, the median of rounds in which each runs once: what disturbs the
/// machine for a while disturbs all of them.
///
/// Where a vendor tells its device's time, that counts instead of what the host saw.
pub fn in_turn(sessions: &[&Session], inputs: &[(String, Datum)]) -> Result<Vec<f64>, Error> {
    let arranged = sessions.iter().map(|s| s.arrange(inputs)).collect::<Result<Vec<_>, _>>()?;
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); sessions.len()];
    let start = Instant::now();
    // The first round finds nothing in caches.
    for round in 0..=ROUNDS {
        for ((session, inputs), times) in sessions.iter().zip(&arranged).zip(&mut times) {
            let before = session.simulated_us();
            let run = Instant::now();
            session.run_arranged(inputs)?;
            let us = run.elapsed().as_secs_f64() * 1e6 - (session.simulated_us() - before);
            if round > 0 {
                times.push(us.max(0.0));
            }
        }
        if round >= LEAST_ROUNDS && start.elapsed() > LONG_ENOUGH {
            break;
        }
    }
    Ok(times.iter_mut().map(|times| median(times)).collect())
}
