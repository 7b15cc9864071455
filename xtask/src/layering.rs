//! Checks the library crates' layering. The "Stages" tables in `docs/architecture.md` define the
//! layers, and the paths in the code must respect these layers.

use std::{fs, io, path::Path};

use syn::{
    UseTree,
    visit::{self, Visit},
};

use crate::{repository::files, steps::root};

/// Files that may use every stage: the crate root, the re-exported macros, the macros and items that
/// expanded code uses, and tests of the whole crate.
const EXCEPTED: [&str; 5] = [
    "describe_macros.rs",
    "lib.rs",
    "macros.rs",
    "private.rs",
    "tests.rs",
];

/// The derives. Every stage may import them from the crate root, because a crate exports macros
/// only at its root.
const DERIVES: [&str; 2] = ["SseError", "SseEvent"];

#[test]
fn imports_point_to_earlier_stages() -> io::Result<()> {
    let page = fs::read_to_string(root().join("docs/architecture.md"))?;
    for package in ["sse-runtime", "sse-macros"] {
        let stages = stages(&page, package);
        assert!(
            stages.len() > 2,
            "docs/architecture.md has no stages for {package}"
        );
        let src = root().join(package).join("src");
        let mut faults = Vec::new();
        for file in files(&src, "rs")? {
            let name = file.strip_prefix(&src).unwrap_or(&file);
            let code = fs::read_to_string(&file)?;
            faults.extend(violations(name, &code, &stages));
        }
        assert!(
            faults.is_empty(),
            "{package}: a stage may use only itself and earlier stages, in the order of \
             docs/architecture.md:\n{}",
            faults.join("\n")
        );
    }
    Ok(())
}

/// Paths on the page are relative to the repository's root or to the `src` directory of one of the
/// two crates.
#[test]
fn paths_on_the_architecture_page_exist() -> io::Result<()> {
    let page = fs::read_to_string(root().join("docs/architecture.md"))?;
    let bases = ["", "sse-runtime/src", "sse-macros/src"].map(|base| root().join(base));
    let is_path = |code: &&str| {
        let ends = ["/", ".rs", ".txt"];
        !code.contains(' ') && ends.iter().any(|end| code.ends_with(end))
    };
    let paths: Vec<_> = page.split('`').skip(1).step_by(2).filter(is_path).collect();
    assert!(paths.len() > 50, "the page has only {} paths", paths.len());
    let exists = |path: &&str| bases.iter().any(|base| base.join(path).exists());
    let missing: Vec<_> = paths.iter().copied().filter(|path| !exists(path)).collect();
    assert!(missing.is_empty(), "no such files: {missing:?}");
    Ok(())
}

#[test]
fn upward_imports_are_found() {
    let stages = ["event", "stream", "server"].map(str::to_owned);
    let code = "
        use std::fmt;
        use super::body::SseBody;
        use crate::{event::frame, stream::{self, body}, server::socket::Socket};
        fn f() { crate::server::listen(); }
    ";
    let found = violations(Path::new("stream/response.rs"), code, &stages);
    assert_eq!(
        found,
        [
            "stream/response.rs uses `crate::server::socket::Socket`",
            "stream/response.rs uses `crate::server::listen`",
        ]
    );
    let nested = violations(
        Path::new("event/json/line.rs"),
        "use super::super::super::stream::body;",
        &stages,
    );
    assert_eq!(nested, ["event/json/line.rs uses `crate::stream::body`"]);
    let from_root = violations(
        Path::new("event/id.rs"),
        "use crate::{SseEvent, Topic};",
        &stages,
    );
    assert_eq!(from_root, ["event/id.rs uses `crate::Topic`"]);
}

/// Returns a package's stages, which are listed in the first column of the table below the heading
/// that names the package. The order of the table is preserved.
fn stages(page: &str, package: &str) -> Vec<String> {
    let heading = format!("`{package}`");
    let section = page
        .split("\n## ")
        .find(|section| {
            section
                .lines()
                .next()
                .is_some_and(|line| line.contains(&heading))
        })
        .unwrap_or_default();
    let names = section.lines().filter_map(|line| {
        let (name, _) = line.strip_prefix("| `")?.split_once('`')?;
        let name = name.strip_suffix('/').or(name.strip_suffix(".rs"))?;
        Some(name.to_owned())
    });
    names.collect()
}

/// Returns the paths in a file that lead to a later stage or to an item at the crate root.
fn violations(file: &Path, code: &str, stages: &[String]) -> Vec<String> {
    let shown = file.display();
    let position = |stage: &str| stages.iter().position(|known| known == stage);
    let Some(own) = file.iter().next().and_then(|first| first.to_str()) else {
        return Vec::new();
    };
    if EXCEPTED.contains(&own) {
        return Vec::new();
    }
    let Some(own) = position(own.trim_end_matches(".rs")) else {
        return vec![format!("{shown} does not belong to a stage")];
    };
    let parsed = match syn::parse_file(code) {
        Ok(parsed) => parsed,
        Err(error) => return vec![format!("{shown} cannot be parsed: {error}")],
    };
    let mut paths = Paths {
        module: module(file),
        found: Vec::new(),
    };
    paths.visit_file(&parsed);
    let is_upward = |path: &&Vec<String>| match path.first() {
        Some(first) if DERIVES.contains(&first.as_str()) => false,
        Some(first) => position(first).is_none_or(|stage| stage > own),
        None => true,
    };
    let upward = paths.found.iter().filter(is_upward);
    upward
        .map(|path| format!("{shown} uses `crate::{}`", path.join("::")))
        .collect()
}

/// Returns the path of a file's module, relative to the crate root.
fn module(file: &Path) -> Vec<String> {
    let mut module: Vec<String> = file
        .with_extension("")
        .iter()
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    module.pop_if(|name| name == "mod");
    module
}

/// Collects the paths that begin at the crate root, and strips the `crate` segment from each.
struct Paths {
    module: Vec<String>,
    found: Vec<Vec<String>>,
}

impl Paths {
    fn add(&mut self, path: &[String]) {
        match path.first().map(String::as_str) {
            Some("crate") => self.found.push(path[1..].to_vec()),
            Some("super") => {
                let ups = path.iter().take_while(|name| *name == "super").count();
                let Some(left) = self.module.len().checked_sub(ups) else {
                    return;
                };
                // Skip paths that stay within the stage, because these are always allowed.
                if left == 0 {
                    self.found.push(path[ups..].to_vec());
                }
            }
            _ => {}
        }
    }

    fn add_tree(&mut self, before: &[String], tree: &UseTree) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.add_tree(&with(&path.ident), &path.tree),
            UseTree::Name(name) => self.add(&with(&name.ident)),
            UseTree::Rename(rename) => self.add(&with(&rename.ident)),
            UseTree::Glob(_) => self.add(before),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_tree(before, tree);
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_tree(&[], &item.tree);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    // `pub(crate)` is not an import.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        self.add(&names);
        visit::visit_path(self, path);
    }
}
