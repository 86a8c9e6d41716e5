//! Memory of this process.

/// The most memory that this process has had resident.
pub(crate) fn peak_rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}

/// Memory of this process at one moment, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Heap {
    pub in_use: usize,
    pub resident: usize,
}

impl Heap {
    pub fn now() -> Heap {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages = pages.split_whitespace().nth(1).and_then(|n| n.parse::<usize>().ok()).unwrap_or(0);
        Heap { in_use: byoc_host::heap_in_use(), resident: pages * 4096 }
    }
}
