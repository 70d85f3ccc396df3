//! The program `janus`; in the workspace it runs as `cargo xtask`. See `--help`.

fn main() -> std::process::ExitCode {
    xtask::main()
}
