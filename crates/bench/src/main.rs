//! The `lattice-bench` binary.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match lattice_bench::run(lattice_bench::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            let _ = writeln!(std::io::stderr(), "lattice-bench: {problem}");
            ExitCode::FAILURE
        }
    }
}
