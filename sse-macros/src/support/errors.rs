//! Collects errors so that all mistakes in an item are reported in the same compilation.

use std::fmt;

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;

#[derive(Default)]
pub(crate) struct Errors(Vec<syn::Error>);

impl Errors {
    pub(crate) fn push(&mut self, error: syn::Error) {
        self.0.push(error);
    }

    /// Adds an error that underlines `tokens`.
    pub(crate) fn at(&mut self, tokens: impl ToTokens, message: impl fmt::Display) {
        self.push(syn::Error::new_spanned(tokens, message));
    }

    pub(crate) fn at_span(&mut self, span: Span, message: impl fmt::Display) {
        self.push(syn::Error::new(span, message));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the `compile_error!` calls that make the compiler report the errors.
    pub(crate) fn into_compile_errors(self) -> impl DoubleEndedIterator<Item = TokenStream> {
        let errors: Vec<_> = self.0.into_iter().flatten().collect();
        errors.into_iter().map(syn::Error::into_compile_error)
    }
}

impl From<syn::Error> for Errors {
    fn from(error: syn::Error) -> Self {
        Self(vec![error])
    }
}

/// Formats the accepted names for an error message, such as "expected `a`, `b` or `c`".
pub(crate) fn one_of(names: impl IntoIterator<Item = impl fmt::Display>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match &names[..] {
        [one] => format!("expected {one}"),
        [names @ .., last] => format!("expected {} or {last}", names.join(", ")),
        [] => String::new(),
    }
}

/// Returns the accepted name that is closest to `given` if it differs by at most two edits.
pub(crate) fn did_you_mean<'a>(
    given: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    names
        .into_iter()
        .map(|name| (distance(given, name), name))
        .filter(|(distance, _)| *distance <= 2)
        .min()
        .map(|(_, name)| name)
}

/// Computes the Levenshtein distance using a single row.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_names_are_suggested() {
        let names = ["keep_alive", "retry", "end"];
        assert_eq!(did_you_mean("keepalive", names), Some("keep_alive"));
        assert_eq!(did_you_mean("retyr", names), Some("retry"));
        assert_eq!(did_you_mean("timeout", names), None);
    }
}
