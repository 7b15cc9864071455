//! Checks capture names.

/// Returns the problems with the captures' names. axum itself accepts all of these names.
pub(super) fn name_problems(captures: &[&str], path: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for (at, &name) in captures.iter().enumerate() {
        if let Some(problem) = name_problem(name) {
            problems.push(problem);
        } else if captures[..at].contains(&name) {
            problems.push(format!("duplicate capture `{{{name}}}` in `\"{path}\"`"));
        }
    }
    problems
}

fn name_problem(name: &str) -> Option<String> {
    if let Some(name) = name.strip_suffix("..") {
        let name = name.trim_end_matches('.');
        let problem = format!("write the wildcard as `{{*{name}}}` instead of `{{{name}...}}`");
        return Some(problem).filter(|_| is_name(name));
    }
    if is_name(name) {
        return None;
    }
    let own = leading_name(name, "id");
    Some(match name.split_once(':') {
        Some(_) => format!(
            "a capture cannot have a pattern; write `{{{own}}}`, and validate the value with the type in `Path<…>`"
        ),
        None => format!(
            "`{name}` is not a valid capture name; use only letters, digits, `_`, `-` and `.`, as in `{{{own}}}`"
        ),
    })
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(is_part_of_name)
}

fn is_part_of_name(char: char) -> bool {
    char.is_alphanumeric() || matches!(char, '_' | '-' | '.')
}

/// Returns the first name in `text`, or `default` if `text` does not contain a name.
pub(super) fn leading_name(text: &str, default: &str) -> String {
    let text = text.trim_start_matches(|char| !is_part_of_name(char));
    let name: String = text
        .chars()
        .take_while(|&char| is_part_of_name(char) && char != '.')
        .collect();
    if name.is_empty() {
        default.to_owned()
    } else {
        name
    }
}
