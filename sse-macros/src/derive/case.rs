//! The case conversions that `rename_all` supports. Each conversion gives the same result as in
//! serde.

use syn::LitStr;

use crate::support::errors::one_of;

/// The supported conversions and their names in serde.
const RULES: [(&str, Case); 8] = [
    ("lowercase", Case::Lower),
    ("UPPERCASE", Case::Upper),
    ("PascalCase", Case::Pascal),
    ("camelCase", Case::Camel),
    ("snake_case", Case::Snake),
    ("SCREAMING_SNAKE_CASE", Case::ScreamingSnake),
    ("kebab-case", Case::Kebab),
    ("SCREAMING-KEBAB-CASE", Case::ScreamingKebab),
];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Case {
    Lower,
    Upper,
    Pascal,
    Camel,
    #[default]
    Snake,
    ScreamingSnake,
    Kebab,
    ScreamingKebab,
}

impl Case {
    pub(crate) fn parse(name: &LitStr) -> syn::Result<Self> {
        let given = name.value();
        match RULES.iter().find(|(rule, _)| *rule == given) {
            Some((_, case)) => Ok(*case),
            None => {
                let rules = RULES.map(|(rule, _)| format!("\"{rule}\""));
                Err(syn::Error::new_spanned(name, one_of(&rules)))
            }
        }
    }

    /// Converts the name of a variant or type from `PascalCase` to this case.
    pub(crate) fn apply(self, pascal: &str) -> String {
        match self {
            Self::Lower => pascal.to_ascii_lowercase(),
            Self::Upper => pascal.to_ascii_uppercase(),
            Self::Pascal => pascal.to_owned(),
            Self::Camel => {
                let mut letters = pascal.chars();
                let first = letters.next().map(|first| first.to_ascii_lowercase());
                first.into_iter().chain(letters).collect()
            }
            Self::Snake => words(pascal),
            Self::ScreamingSnake => words(pascal).to_ascii_uppercase(),
            Self::Kebab => words(pascal).replace('_', "-"),
            Self::ScreamingKebab => words(pascal).replace('_', "-").to_ascii_uppercase(),
        }
    }
}

/// Converts `LikeThis` to `like_this`. As in serde, every uppercase letter starts a new word.
fn words(pascal: &str) -> String {
    let mut words = String::new();
    for (at, letter) in pascal.char_indices() {
        if at > 0 && letter.is_uppercase() {
            words.push('_');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_match_serde() {
        for (rule, expected) in [
            ("lowercase", "toolcall"),
            ("UPPERCASE", "TOOLCALL"),
            ("PascalCase", "ToolCall"),
            ("camelCase", "toolCall"),
            ("snake_case", "tool_call"),
            ("SCREAMING_SNAKE_CASE", "TOOL_CALL"),
            ("kebab-case", "tool-call"),
            ("SCREAMING-KEBAB-CASE", "TOOL-CALL"),
        ] {
            let (_, case) = RULES.iter().find(|(name, _)| *name == rule).unwrap();
            assert_eq!(case.apply("ToolCall"), expected);
            let (_, kebab) = RULES
                .iter()
                .find(|(name, _)| *name == "kebab-case")
                .unwrap();
            assert_eq!(kebab.apply("A_B"), "a--b");
        }
    }
}
