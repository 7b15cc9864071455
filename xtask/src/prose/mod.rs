//! Checks the language of comments, rustdoc, Markdown and test names. The files listed in
//! `prose/held.txt` must not contain the phrases listed in `prose/phrases.txt`.

mod paragraphs;

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use crate::{repository::texts, steps::root};
use paragraphs::{markdown, source};

const LONGEST_TEST_NAME: usize = 50;

const ADVICE: &str = "\
CONTRIBUTING.md lists the rules. If a phrase is used correctly, add it to xtask/prose/allowed.txt.
To apply the rules to another file or folder, add its path to xtask/prose/held.txt.
`PROSE=<path> cargo test -p xtask prose` lists its violations without changing that file.";

#[test]
fn held_files_follow_the_language_rules() -> io::Result<()> {
    let rules = Rules::read()?;
    let mut held: Vec<PathBuf> = lines("held.txt")?.iter().map(PathBuf::from).collect();
    let mut faults = Vec::new();
    for path in &held {
        if !root().join(path).exists() {
            faults.push(format!("held.txt: {} does not exist", path.display()));
        }
    }
    held.extend(env::var_os("PROSE").map(PathBuf::from));
    for extension in ["md", "rs", "toml"] {
        for (file, text) in texts(extension)? {
            if held.iter().any(|path| file.starts_with(path)) {
                faults.extend(rules.faults(&file, &text));
            }
        }
    }
    faults.extend(rules.unused());
    assert!(
        faults.is_empty(),
        "{}\n\n{} violations. {ADVICE}",
        faults.join("\n"),
        faults.len()
    );
    Ok(())
}

#[test]
fn phrases_are_found_in_comments_and_code() {
    let code = r#"
        /// Runs it in order
        /// to utilise `utilise` the cake. Hence it ends,
        /// it ends. Hence it ends? In order to utilise memory.
        ///
        /// ```
        /// utilise();
        /// ```
        fn f() -> &'static str {
            utilise("reutilised // utilise") // In order to.
        }
    "#;
    let found = rules().faults(Path::new("src/a.rs"), code);
    assert_eq!(
        found,
        [
            "src/a.rs:2: \"in order to\": to",
            "src/a.rs:4: \"in order to\": to",
            "src/a.rs:3: \"utilise\": use",
            "src/a.rs:3: \"hence\" opens a sentence: so",
            "src/a.rs:10: \"utilise\": use",
            "src/a.rs:10: \"in order to\": to",
        ]
    );
}

#[test]
fn phrases_are_found_in_markdown() {
    let page = "\
# Hence the end

Ends
- utilise this, and utilise memory
- Hence it is

| Hence | utilise |
| --- | --- |
";
    let found = rules().faults(Path::new("docs/page.md"), page);
    assert_eq!(
        found,
        [
            "docs/page.md:4: \"utilise\": use",
            "docs/page.md:5: \"hence\" opens a sentence: so",
            "docs/page.md:7: \"utilise\": use",
        ]
    );
}

#[test]
fn phrases_are_found_in_manifests() {
    let manifest = "name = \"utilise\" # Hence it is.\n# Utilise it.\n";
    let found = rules().faults(Path::new("Cargo.toml"), manifest);
    assert_eq!(
        found,
        [
            "Cargo.toml:1: \"utilise\": use",
            "Cargo.toml:1: \"hence\" opens a sentence: so",
            "Cargo.toml:2: \"utilise\": use",
        ]
    );
}

#[test]
fn words_are_allowed_in_their_file_only() {
    let page = "It waits in order to serve.\n";
    let allowed = rules().faults(Path::new("docs/own.md"), page);
    assert_eq!(allowed, Vec::<String>::new());
    assert_eq!(
        rules().faults(Path::new("docs/other.md"), page),
        ["docs/other.md:1: \"in order to\": to"]
    );
}

#[test]
fn allowed_words_must_be_in_their_file() {
    assert_eq!(
        rules().unused(),
        ["allowed.txt: docs/own.md does not contain \"in order to serve\""]
    );
}

#[test]
fn test_names_are_checked() {
    let long = "a".repeat(51);
    let code = format!(
        "#[test]\nfn utilise_is_found() {{}}\n\n\
         #[tokio::test(start_paused = true)]\n#[ignore]\nasync fn {long}() {{}}\n\n\
         #[test_case(1; \"one\")]\nfn {long}(one: u8) {{}}\n\n\
         fn no_test_{long}() {{}}\n"
    );
    let found = rules().faults(Path::new("src/a.rs"), &code);
    assert_eq!(
        found,
        [
            "src/a.rs:2: \"utilise\": use",
            "src/a.rs:6: the test name has 51 characters, more than 50",
            "src/a.rs:9: the test name has 51 characters, more than 50",
        ]
    );
}

fn rules() -> Rules {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    Rules::new(
        &lines("in order to = to\nutilise = use\n^hence = so"),
        &lines("*: utilise memory\ndocs/own.md: in order to serve"),
    )
}

/// Returns the lines of a file in `xtask/prose`, without comments.
fn lines(name: &str) -> io::Result<Vec<String>> {
    let text = fs::read_to_string(root().join("xtask/prose").join(name))?;
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

fn halves<'a>(line: &'a str, separator: &str) -> (&'a str, &'a str) {
    line.split_once(separator)
        .unwrap_or_else(|| panic!("missing `{separator}` in `{line}`"))
}

struct Rules {
    phrases: Vec<Phrase>,
    allowed: Vec<Allowed>,
}

struct Phrase {
    words: String,
    instead: String,
    opens_sentence: bool,
}

struct Allowed {
    /// `None` means every file.
    file: Option<PathBuf>,
    words: String,
}

impl Rules {
    fn read() -> io::Result<Self> {
        Ok(Self::new(&lines("phrases.txt")?, &lines("allowed.txt")?))
    }

    fn new(phrases: &[String], allowed: &[String]) -> Self {
        let phrase = |line: &String| {
            let (words, instead) = halves(line, " = ");
            Phrase {
                words: words.trim_start_matches('^').to_owned(),
                instead: instead.to_owned(),
                opens_sentence: words.starts_with('^'),
            }
        };
        let allow = |line: &String| {
            let (file, words) = halves(line, ": ");
            Allowed {
                file: (file != "*").then(|| PathBuf::from(file)),
                words: words.to_ascii_lowercase(),
            }
        };
        Self {
            phrases: phrases.iter().map(phrase).collect(),
            allowed: allowed.iter().map(allow).collect(),
        }
    }

    fn faults(&self, file: &Path, text: &str) -> Vec<String> {
        let kind = file.extension().unwrap_or_default();
        let paragraphs = match kind.to_str() {
            Some("md") => markdown(text),
            Some("rs") => source(text, "//"),
            _ => source(text, "#"),
        };
        let mut faults = Vec::new();
        for paragraph in paragraphs {
            let words = self.without_allowed(file, &paragraph.text);
            for phrase in &self.phrases {
                for start in occurrences(&words, &phrase.words) {
                    if phrase.opens_sentence && !(paragraph.is_prose && opens(&words, start)) {
                        continue;
                    }
                    let line = paragraph.line + paragraph.text[..start].matches('\n').count();
                    let verb = if phrase.opens_sentence {
                        " opens a sentence"
                    } else {
                        ""
                    };
                    faults.push(format!(
                        "{}:{line}: \"{}\"{verb}: {}",
                        file.display(),
                        phrase.words,
                        phrase.instead
                    ));
                }
            }
        }
        for (line, name) in test_names(text) {
            let length = name.chars().count();
            if length > LONGEST_TEST_NAME {
                faults.push(format!(
                    "{}:{line}: the test name has {length} characters, more than \
                     {LONGEST_TEST_NAME}",
                    file.display()
                ));
            }
        }
        faults
    }

    /// Returns the text in lower case and on a single line, with code and allowed words blanked
    /// out. Every remaining word keeps its offset.
    fn without_allowed(&self, file: &Path, text: &str) -> String {
        let mut words = without_code(text).to_ascii_lowercase().replace('\n', " ");
        for allowed in &self.allowed {
            if allowed.file.as_deref().is_none_or(|path| path == file) {
                let blank = "_".repeat(allowed.words.len());
                words = words.replace(&allowed.words, &blank);
            }
        }
        words
    }

    /// Reports allowed words that no longer appear in the file in which they are allowed.
    fn unused(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for allowed in &self.allowed {
            let Some(file) = &allowed.file else { continue };
            let text = fs::read_to_string(root().join(file)).unwrap_or_default();
            if !text.to_ascii_lowercase().contains(&allowed.words) {
                faults.push(format!(
                    "allowed.txt: {} does not contain \"{}\"",
                    file.display(),
                    allowed.words
                ));
            }
        }
        faults
    }
}

/// Returns the names of the tests in a Rust file, with their line numbers.
fn test_names(code: &str) -> Vec<(usize, &str)> {
    let mut names = Vec::new();
    let mut is_test = false;
    for (index, line) in code.lines().enumerate() {
        let line = line.trim();
        is_test |= ["#[test]", "#[tokio::test", "#[test_case("]
            .iter()
            .any(|attribute| line.starts_with(attribute));
        let function = line.strip_prefix("async ").unwrap_or(line);
        if is_test && let Some(function) = function.strip_prefix("fn ") {
            names.push((index + 1, function.split('(').next().unwrap_or_default()));
            is_test = false;
        }
    }
    names
}

/// Blanks everything in backticks.
fn without_code(text: &str) -> String {
    let mut blanked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('`') {
        let Some((code, after)) = after.split_once('`') else {
            break;
        };
        blanked.push_str(before);
        blanked.push_str(&"_".repeat(code.len() + 2));
        rest = after;
    }
    blanked + rest
}

/// Returns the offsets of all occurrences that begin and end at a word boundary.
fn occurrences(text: &str, words: &str) -> Vec<usize> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(words)
        .map(|(start, _)| start)
        .filter(|start| {
            let (before, after) = (&text[..*start], &text[start + words.len()..]);
            !before.ends_with(is_part) && !after.starts_with(is_part)
        })
        .collect()
}

/// Returns whether a sentence that is not a question begins at this offset.
fn opens(text: &str, start: usize) -> bool {
    let before = text[..start].trim_end();
    let is_first = before.is_empty() || (before.ends_with(['.', '?', '!']) && before.len() < start);
    let rest = &text[start..];
    let end = [". ", "? ", "! "]
        .iter()
        .filter_map(|end| rest.find(end))
        .min();
    let sentence = rest[..end.map_or(rest.len(), |end| end + 1)].trim_end();
    is_first && !sentence.ends_with('?')
}
