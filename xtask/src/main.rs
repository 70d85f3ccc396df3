//! `janus`, in the workspace `cargo xtask`. Run it with `--help`.

fn main() -> std::process::ExitCode {
    xtask::main()
}
