//! Where the proxy's binary is; built if it is not there yet.

use std::path::{Path, PathBuf};
use std::process::Command;

/// `given`, or the workspace's release build, which is made if it is missing.
pub(crate) fn locate(given: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(path) = given {
        let found = path.is_file();
        return if found {
            Ok(path.to_owned())
        } else {
            Err(format!("there is no proxy at {}", path.display()))
        };
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    let path = target.join("release/fusebox");
    if path.is_file() {
        return Ok(path);
    }
    eprintln!("loadtest: {} is missing; building it (cargo build --release)", path.display());
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    let build = ["build", "--release", "--locked", "--bin", "fusebox"];
    match cargo.args(build).current_dir(&root).status() {
        Ok(status) if status.success() && path.is_file() => Ok(path),
        Ok(status) => Err(format!("the proxy was not built ({status}); name one with --proxy")),
        Err(error) => Err(format!("cannot run cargo: {error}; name a proxy with --proxy")),
    }
}
