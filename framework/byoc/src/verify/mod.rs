//! Looks at a plugin as a host does, and says what it breaks. See `docs/verify.md` for the checks.
//!
//! `plan` lists the checks in their order; those that need no vendor code run here (`file`, `table`), the others are
//! jobs for a child process (`job`, `serve`), which `runner` starts, times and replaces. `numerics` draws regions and
//! shrinks what fails, `save` writes it down; `results` and `page` show what came of all. `fuzz` does the same with
//! whole graphs, without end.

mod case;
mod file;
mod fuzz;
mod job;
mod life;
mod models;
mod numerics;
mod page;
mod plan;
mod results;
mod runner;
mod save;
mod table;

pub use case::{broken_claim, differing};
pub use file::Version;
pub use fuzz::{Failure, FuzzOptions, Fuzzed, fuzz};
pub use job::{Subject, serve};
pub use plan::{Options, examine, interface, verify};
pub use results::{Check, Results, Verdict};
pub use save::save;
