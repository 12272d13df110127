//! The program: parse, run, exit code. See `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    fwdrift::cli::main()
}
