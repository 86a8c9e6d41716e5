//! Rates of copies within host memory, and between it and a device's.

use std::time::Instant;

use byoc_host::{DeviceMemory, PluginError};
use byoc_partitioner::cost::{Link, Work};

use super::fit::{Sample, fit};
use super::median;

const SIZES: [usize; 6] = [1 << 12, 1 << 15, 1 << 18, 1 << 20, 1 << 22, 1 << 24];
const RUNS: usize = 7;

/// One copy of host memory to host memory.
pub(crate) fn within_host() -> Option<Link> {
    let from = vec![1u8; SIZES[SIZES.len() - 1]];
    let mut to = vec![0u8; from.len()];
    let link = link(&mut |size| {
        to[..size].copy_from_slice(std::hint::black_box(&from[..size]));
        std::hint::black_box(&mut to);
        Ok(())
    });
    link.ok().flatten()
}

/// Copies into a device's memory, and back.
pub(crate) fn with_device(memory: &DeviceMemory) -> Result<(Option<Link>, Option<Link>), PluginError> {
    let mut host = vec![1u8; SIZES[SIZES.len() - 1]];
    let address = memory.alloc(host.len() as u64, 64)?;
    let copy_in = link(&mut |size| memory.copy_in(&host[..size], address, 0));
    let copy_out = link(&mut |size| memory.copy_out(address, 0, &mut host[..size]));
    // An address that the device will not take back is lost, and never used again.
    let _ = memory.free(address);
    Ok((copy_in?, copy_out?))
}

fn link(copy: &mut dyn FnMut(usize) -> Result<(), PluginError>) -> Result<Option<Link>, PluginError> {
    let mut samples = Vec::new();
    for size in SIZES {
        let mut times = Vec::new();
        for run in 0..=RUNS {
            let start = Instant::now();
            copy(size)?;
            if run > 0 {
                times.push(start.elapsed().as_secs_f64() * 1e6);
            }
        }
        let work = Work { flops: None, bytes: Some(size as u64) };
        samples.push(Sample { key: String::new(), heavy: false, work, us: median(&mut times), fusion: 0.0 });
    }
    let rates = fit(&samples.iter().collect::<Vec<_>>());
    Ok(rates.map(|rates| Link { fixed_us: rates.fixed_us.unwrap_or(0.0), gbps: rates.gbps }))
}
