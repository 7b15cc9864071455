//! Splits a file into paragraphs that can be searched for phrases.

use super::test_names;

/// A piece of text that is searched for phrases.
pub(super) struct Paragraph {
    /// The line on which the text starts.
    pub(super) line: usize,
    pub(super) text: String,
    /// `false` for headings, table rows and code, which need not be complete sentences.
    pub(super) is_prose: bool,
}

/// Joins lines of prose into paragraphs.
#[derive(Default)]
pub(super) struct Paragraphs {
    found: Vec<Paragraph>,
    /// Whether the next line of prose continues the last paragraph.
    is_open: bool,
    is_fenced: bool,
}

impl Paragraphs {
    fn prose(&mut self, line: usize, text: &str) {
        let text = text.trim();
        if text.starts_with("```") {
            self.is_fenced = !self.is_fenced;
            self.is_open = false;
        } else if self.is_fenced || text.is_empty() {
            self.is_open = false;
        } else if text.starts_with(['#', '|']) {
            self.other(line, text);
        } else if let Some(item) = text.strip_prefix("- ") {
            self.open(line, item);
        } else if self.is_open
            && let Some(last) = self.found.last_mut()
        {
            last.text.push('\n');
            last.text.push_str(text);
        } else {
            self.open(line, text);
        }
    }

    fn open(&mut self, line: usize, text: &str) {
        self.other(line, text);
        if let Some(last) = self.found.last_mut() {
            last.is_prose = true;
        }
        self.is_open = true;
    }

    /// Adds a line that need not be a complete sentence.
    fn other(&mut self, line: usize, text: &str) {
        self.found.push(Paragraph {
            line,
            text: text.to_owned(),
            is_prose: false,
        });
        self.is_open = false;
    }
}

pub(super) fn markdown(text: &str) -> Vec<Paragraph> {
    let mut paragraphs = Paragraphs::default();
    for (index, line) in text.lines().enumerate() {
        paragraphs.prose(index + 1, line);
    }
    paragraphs.found
}

/// Returns the comments, whose lines are joined, and the strings in each line of code. Also returns
/// the names of tests, split into words.
pub(super) fn source(text: &str, comment: &str) -> Vec<Paragraph> {
    let mut paragraphs = Paragraphs::default();
    let names = test_names(text);
    for (index, line) in text.lines().enumerate() {
        let (number, line) = (index + 1, line.trim());
        if let Some(text) = line.strip_prefix(comment) {
            let text = text.strip_prefix(['/', '!']).unwrap_or(text);
            paragraphs.prose(number, text);
            continue;
        }
        let (code, text) = split_comment(line, comment);
        if let Some((_, name)) = names.iter().find(|(line, _)| *line == number) {
            paragraphs.other(number, &name.replace('_', " "));
        } else {
            paragraphs.other(number, &strings(code));
        }
        if !text.is_empty() {
            paragraphs.open(number, text);
            paragraphs.is_open = false;
        }
        // A line of code ends the preceding comment, and closes any code fence that the comment
        // left open.
        paragraphs.is_fenced = false;
    }
    paragraphs.found
}

/// Returns the quoted parts of a line of code.
pub(super) fn strings(code: &str) -> String {
    let pieces: Vec<&str> = code.split('"').skip(1).step_by(2).collect();
    pieces.join(" | ")
}

/// Splits a line into its code and its trailing comment.
pub(super) fn split_comment<'a>(line: &'a str, comment: &str) -> (&'a str, &'a str) {
    let mark = format!(" {comment} ");
    // A comment mark is inside a string if an odd number of quotation marks precedes it.
    let start = line
        .match_indices(&mark)
        .find(|(start, _)| line[..*start].matches('"').count().is_multiple_of(2));
    match start {
        Some((start, _)) => (&line[..start], &line[start + mark.len()..]),
        None => (line, ""),
    }
}
