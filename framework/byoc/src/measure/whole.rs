//! Times of whole models: several placements of one, run in turn.

use std::time::{Duration, Instant};

use byoc_graph::Datum;

use super::median;
use crate::{Error, Session};

/// Runs of each that count, at most; and the time after which there are no more.
const ROUNDS: usize = 25;
const LEAST_ROUNDS: usize = 3;
const LONG_ENOUGH: Duration = Duration::from_secs(6);

/// Microseconds of one run of each session.
///
/// Where a vendor tells its device's time, that counts instead of what the host saw.
pub fn sessions_in_turn(sessions: &[&Session], inputs: &[(String, Datum)]) -> Result<Vec<f64>, Error> {
    let arranged = sessions.iter().map(|s| s.arrange(inputs)).collect::<Result<Vec<_>, _>>()?;
    let mut times = in_turn(sessions.len(), &mut |i| {
        let before = sessions[i].simulated_us();
        sessions[i].run_arranged(&arranged[i])?;
        Ok(sessions[i].simulated_us() - before)
    })?;
    Ok(times.iter_mut().map(|times| median(times)).collect())
}

/// Microseconds that each of several things takes, in rounds in which each is run once: what disturbs the machine
/// for a while disturbs all of them. What is timed finds caches as it left them itself: a simulator fills them with what no
/// device would. `run` gives back the microseconds that do not count.
pub(crate) fn in_turn(
    count: usize,
    run: &mut dyn FnMut(usize) -> Result<f64, Error>,
) -> Result<Vec<Vec<f64>>, Error> {
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); count];
    let start = Instant::now();
    // The first round makes what is made once.
    for round in 0..=ROUNDS {
        for (i, times) in times.iter_mut().enumerate() {
            if count > 1 {
                run(i)?;
            }
            let begin = Instant::now();
            let aside = run(i)?;
            let us = begin.elapsed().as_secs_f64() * 1e6 - aside;
            if round > 0 {
                times.push(us.max(0.0));
            }
        }
        if round >= LEAST_ROUNDS && start.elapsed() > LONG_ENOUGH {
            break;
        }
    }
    Ok(times)
}
