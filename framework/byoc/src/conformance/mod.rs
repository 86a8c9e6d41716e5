//! Runs suites of tests in the layout of ONNX's backend tests, `<kind>/<test>/model.onnx` with
//! `test_data_set_*` beside it, each test in a child process that may crash or hang without harm.
//!
//! `suite` finds the tests, `test` runs one in this process, `protocol` is what parent and child say to each
//! other, `random` compares what is drawn, `drive` hands the tests out, `results` writes them down.

mod drive;
mod protocol;
mod random;
mod results;
mod suite;
mod test;

pub use drive::{Options, run};
pub use protocol::{Outcome, serve};
pub use results::{Results, TestResult};
pub use suite::{Suite, Test};
pub use test::TestSession;
