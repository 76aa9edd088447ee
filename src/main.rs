//! argv in, exit code out.

fn main() -> std::process::ExitCode {
    fusebox::cli::main()
}
