//! Checks the names of captures.

/// Returns the problems with the names of captures. axum accepts all of these names.
pub(super) fn name_problems(captures: &[&str], path: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for (at, &name) in captures.iter().enumerate() {
        if let Some(problem) = name_problem(name) {
            problems.push(problem);
        } else if captures[..at].contains(&name) {
            problems.push(format!("in `\"{path}\"`: `{{{name}}}` appears twice"));
        }
    }
    problems
}

fn name_problem(name: &str) -> Option<String> {
    if let Some(name) = name.strip_suffix("..") {
        let name = name.trim_end_matches('.');
        return Some(format!("write `{{*{name}}}`, not `{{{name}...}}`")).filter(|_| is_name(name));
    }
    if is_name(name) {
        return None;
    }
    let own = leading_name(name, "id");
    Some(match name.split_once(':') {
        Some(_) => format!(
            "captures have no patterns, so this one's name would be `{name}`; write `{{{own}}}`, and let the type in \
             `Path<…>` validate it"
        ),
        None => format!(
            "`{name}` is not a valid capture name; use letters, digits, `_`, `-` and `.`, as in `{{{own}}}`"
        ),
    })
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(is_part_of_name)
}

fn is_part_of_name(char: char) -> bool {
    char.is_alphanumeric() || matches!(char, '_' | '-' | '.')
}

/// Returns the name at the start of a text, or `default` if there is no name.
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
