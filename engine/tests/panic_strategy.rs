//! Programs that abort at a panic are refused when they are built: in them nothing that fails would be isolated.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

/// What the compiler says of this crate with a panic strategy. Without its dependencies it cannot be built in any case.
fn compiled_with(strategy: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = tempfile::tempdir().unwrap();
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(compiler)
        .args([
            "--edition",
            "2024",
            "--crate-type",
            "lib",
            "--emit",
            "metadata",
            "-C",
            strategy,
        ])
        .arg("--out-dir")
        .arg(out.path())
        .arg(folder.join("src/lib.rs"))
        .output()
        .unwrap();
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_build_that_aborts_at_panics_is_refused_with_what_to_do() {
    let refused = "Millstream isolates panics of user code by unwinding";
    let aborting = compiled_with("panic=abort");
    assert!(aborting.contains(refused), "{aborting}");
    let unwinding = compiled_with("panic=unwind");
    assert!(!unwinding.contains(refused), "{unwinding}");
}
