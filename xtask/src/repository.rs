//! Gives tests access to the repository's files.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::steps::root;

/// Directories without our own source files, such as those for build output and for the packages
/// that the interop clients install.
const SKIPPED: [&str; 3] = ["target", "node_modules", "wip"];

/// Returns the sorted paths of all files with this extension in a directory and its subdirectories.
pub(crate) fn files(folder: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if !name.starts_with('.') && !SKIPPED.contains(&&*name) {
                found.extend(files(&path, extension)?);
            }
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Returns the path and the contents of every file with this extension. The path is relative to the
/// root.
pub(crate) fn texts(extension: &str) -> io::Result<Vec<(PathBuf, String)>> {
    let root = root();
    let texts = files(&root, extension)?.into_iter().map(|path| {
        let text = fs::read_to_string(&path)?;
        Ok((
            path.strip_prefix(&root).unwrap_or(&path).to_path_buf(),
            text,
        ))
    });
    texts.collect()
}
