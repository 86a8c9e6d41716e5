//! The `byoc` command. Exit status: 0 done, 1 the work failed, 2 bad usage.

mod cli;

use std::process::ExitCode;

/// How often the waiting threads of a vendor's OpenMP runtime look before they sleep: some fifty microseconds, about as
/// long as waking one takes. By itself GNU's looks for milliseconds, and keeps the host from that processor meanwhile.
const OPENMP_SPINS: &str = "2000";

/// Vendors' threads wait as ours do, unless the user has a wish of their own.
fn have_vendors_wait_shortly() {
    let wishes = ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"];
    if wishes.iter().all(|name| std::env::var_os(name).is_none()) {
        // SAFETY: this is the first thing that the process does; it has no other thread yet.
        unsafe { std::env::set_var("GOMP_SPINCOUNT", OPENMP_SPINS) };
    }
}

fn main() -> ExitCode {
    have_vendors_wait_shortly();
    cli::ui::show_plugin_logs();
    match cli::run(cli::Cli::read()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::ui::print_error(&error);
            ExitCode::FAILURE
        }
    }
}
