//! The `byoc` command. Exit status: 0 done, 1 the work failed, 2 bad usage.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::ui::show_plugin_logs();
    match cli::run(cli::Cli::read()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::ui::print_error(&error);
            ExitCode::FAILURE
        }
    }
}
