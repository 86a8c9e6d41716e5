//! Many runs with a worker that crashes at random: every answer is right, and nothing is left behind. Alone in its process,
//! which is looked at for what is left.

use std::fs;
use std::time::{Duration, Instant};

use byoc::Session;
use byoc_tests::{FAULTY_MODEL, failing, faulty_input, written};

/// Processes that this one has started and that are still there.
fn children() -> Vec<String> {
    let me = std::process::id().to_string();
    let processes = fs::read_dir("/proc").expect("Linux").flatten();
    let stat = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("stat")).ok();
    let parent = |stat: &String| stat.rsplit(')').next()?.split_whitespace().nth(1).map(str::to_owned);
    processes.filter_map(stat).filter(|stat| parent(stat).as_deref() == Some(&me)).collect()
}

/// Shared memory that this process has open or mapped.
fn shared_memory() -> usize {
    let maps = fs::read_to_string("/proc/self/maps").expect("Linux");
    let open = fs::read_dir("/proc/self/fd").expect("Linux").flatten();
    let links = open.filter_map(|entry| fs::read_link(entry.path()).ok()).map(|l| l.display().to_string());
    links.filter(|link| link.contains("memfd:byoc")).count() + maps.matches("memfd:byoc").count()
}

#[test]
fn a_thousand_runs_with_a_worker_that_crashes_at_random() {
    const ROUNDS: usize = 1000;
    let (_folder, model) = written(FAULTY_MODEL);
    let session = failing(&model, &[("how", "segv"), ("one_in", "40")], None);
    let host = Session::builder(&model).threads(1).build().expect("it can be built");
    assert_eq!(session.report().summary.offloaded, 4);
    let next = std::sync::atomic::AtomicUsize::new(0);
    let right = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                loop {
                    let run = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if run >= ROUNDS {
                        return;
                    }
                    let (got, want) = (session.run(&faulty_input(run)), host.run(&faulty_input(run)));
                    assert_eq!(got.expect("an answer"), want.expect("an answer"), "run {run}");
                    right.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(10));
                }
            });
        }
    });
    assert_eq!(right.into_inner(), ROUNDS);
    let told = session.fallbacks().join("\n");
    assert!(told.contains("SIGSEGV"), "it never crashed: {told}");
    assert!(told.contains("the worker of faulty was replaced"), "it was never back: {told}");
    println!("{told}");
    drop(session);
    let end = Instant::now() + Duration::from_secs(10);
    while !(children().is_empty() && shared_memory() == 0) {
        assert!(Instant::now() < end, "left behind: {:?}, {} pieces of memory", children(), shared_memory());
        std::thread::sleep(Duration::from_millis(20));
    }
}
