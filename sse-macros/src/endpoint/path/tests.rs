use proptest::prelude::*;

use super::*;

/// Returns `true` if axum 0.8 accepts a path. This repeats the checks in axum's
/// `PathRouter::route`, then adds the path to a `matchit` router.
fn axum_accepts(path: &str) -> bool {
    let is_legacy = |segment: &str| segment.starts_with([':', '*']);
    path.starts_with('/')
        && !path.split('/').any(is_legacy)
        && matchit::Router::new().insert(path, ()).is_ok()
}

fn path_of_parts() -> impl Strategy<Value = String> {
    const PARTS: [&str; 16] = [
        "/", "/", "/", "{", "}", "{{", "}}", "*", ":", "a", "b.c", "{a}", "{*b}", "{c}/", "ü", "-",
    ];
    let parts = proptest::collection::vec(proptest::sample::select(&PARTS[..]), 0..9);
    (any::<bool>(), parts).prop_map(|(slash, parts)| {
        let start = if slash { "/" } else { "" };
        format!("{start}{}", parts.concat())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn refusals_match_the_router(path in path_of_parts()) {
        prop_assert_eq!(refusals(&path).is_empty(), axum_accepts(&path), "{:?}", refusals(&path));
    }

    #[test]
    fn problems_cover_all_refusals(path in "[/{}*:a?#<>.ü ]{0,12}") {
        prop_assert!(axum_accepts(&path) || !problems(&path).is_empty());
    }

    #[test]
    fn ordinary_paths_have_no_problems(
        segments in proptest::collection::btree_map("[a-z][a-z0-9_-]{0,6}", 0..3_u8, 0..6),
        ends_with_wildcard in any::<bool>(),
    ) {
        let segments = segments.iter().map(|(name, kind)| match kind {
            0 => name.clone(),
            1 => format!("{{{name}}}"),
            _ => format!("v-{{{name}}}"),
        });
        let mut path = format!("/{}", segments.collect::<Vec<_>>().join("/"));
        if ends_with_wildcard {
            path.push_str("/{*Rest}");
        }
        prop_assert_eq!(problems(&path), [""; 0]);
        prop_assert!(axum_accepts(&path));
    }
}

#[test]
fn number_of_captures_is_limited_as_in_matchit() {
    let path = |count: usize| -> String { (0..count).map(|at| format!("/{{a{at}}}")).collect() };
    assert_eq!(problems(&path(25)), [""; 0]);
    assert_eq!(problems(&format!("{}/{{*rest}}", path(25))), [""; 0]);
    assert!(axum_accepts(&format!("{}/{{*rest}}", path(25))));
    assert_eq!(problems(&path(26)).len(), 1);
    std::panic::catch_unwind(|| axum_accepts(&path(26))).unwrap_err();
}

#[test]
fn valid_paths_have_no_problems() {
    for path in [
        "/",
        "/a",
        "/a/{id}",
        "/{a}/{*rest}",
        "/v{version}",
        "/files-{*rest}",
        "/{{x}}",
        "/{{x}}/{id}",
        "/a/",
        "//",
        "/a:b/c*d",
        "/{user-id}/{kebab.dot}/{größe}",
    ] {
        assert_eq!(problems(path), [""; 0], "{path}");
    }
    assert_eq!(captures("/{a}/b/{*rest}"), ["a", "rest"]);
    assert_eq!(captures("/{{x}}/x-{a}"), ["a"]);
}

#[test]
fn problems_suggest_a_fix() {
    for (path, problem) in [
        (
            "ticks",
            "the path must start with `/`; did you mean `\"/ticks\"`?",
        ),
        ("", "the path must start with `/`; did you mean `\"/\"`?"),
        (
            "/a/:id",
            "write `{id}` instead of `:id`, as in `\"/a/{id}\"`",
        ),
        (
            "/:a/:b",
            "write `{a}` instead of `:a`, as in `\"/{a}/{b}\"`",
        ),
        (
            "/:{id}",
            "write `{id}` instead of `:{id}`, as in `\"/{id}\"`",
        ),
        (
            "/a/:id.json",
            "write `{id}` instead of `:id.json`, as in `\"/a/{id}\"`",
        ),
        (
            "/a/*rest",
            "write `{*rest}` instead of `*rest`, as in `\"/a/{*rest}\"`",
        ),
        (
            "/a/*",
            "write `{*rest}` instead of `*`, as in `\"/a/{*rest}\"`",
        ),
        (
            "/a/<id>",
            "write `{id}` instead of `<id>`, as in `\"/a/{id}\"`",
        ),
        (
            "/<rest..>",
            "write `{*rest}` instead of `<rest..>`, as in `\"/{*rest}\"`",
        ),
        (
            "/{rest...}",
            "write the wildcard as `{*rest}` instead of `{rest...}`",
        ),
        ("/{id}/{id}", "duplicate capture `{id}` in `\"/{id}/{id}\"`"),
        (
            "/{id}/{*id}",
            "duplicate capture `{id}` in `\"/{id}/{*id}\"`",
        ),
        ("/{}", "the capture in `{}` has no name; write `{id}`"),
        ("/{*}", "the capture in `{*}` has no name; write `{*rest}`"),
        (
            "/{id",
            "unclosed capture in `{id`; write `{name}`, or `{{` for a literal brace",
        ),
        (
            "/{id/a",
            "unclosed capture in `{id`; write `{name}`, or `{{` for a literal brace",
        ),
        (
            "/{id}}",
            "unclosed capture in `{id}}`; write `{name}`, or `{{` for a literal brace",
        ),
        (
            "/id}",
            "unmatched `}` in `id}`; write `{name}`, or `}}` for a literal brace",
        ),
        (
            "/{{id}",
            "unmatched `}` in `{{id}`; write `{name}`, or `}}` for a literal brace",
        ),
        (
            "/{a/b}",
            "`{a/b}` contains a `/`, but a capture matches a single segment; write `{a}/{b}`, or `{*rest}`",
        ),
        (
            "/{*rest}/a",
            "`{*rest}` captures the rest of the path, so it must come last",
        ),
        (
            "/{*rest}/",
            "`{*rest}` captures the rest of the path, so it must come last",
        ),
        (
            "/{*rest}.json",
            "`{*rest}` captures the rest of the path, so it must come last",
        ),
        (
            "/{rest*}",
            "a wildcard has a single `*` before its name; write `{*rest}` instead of `{rest*}`",
        ),
        (
            "/{**rest}",
            "a wildcard has a single `*` before its name; write `{*rest}` instead of `{**rest}`",
        ),
        (
            "/{a}{b}",
            "`{a}{b}` has two captures, but a segment can have only one; put a `/` between them",
        ),
        (
            "/{a}-{b}",
            "`{a}-{b}` has two captures, but a segment can have only one; put a `/` between them",
        ),
        (
            "/tasks/{id}:subscribe",
            "nothing can follow `{id}` in its segment\n\
             help: put a `/` before `:subscribe`, or capture the whole segment and strip `:subscribe` in the endpoint",
        ),
        (
            "/files/{name}.json",
            "nothing can follow `{name}` in its segment\n\
             help: put a `/` before `.json`, or capture the whole segment and strip `.json` in the endpoint",
        ),
        (
            "/{id:[0-9]+}",
            "a capture cannot have a pattern; write `{id}`, and validate the value with the type in `Path<…>`",
        ),
        (
            "/{ id }",
            "` id ` is not a valid capture name; use only letters, digits, `_`, `-` and `.`, as in `{id}`",
        ),
        (
            "/a/{id?}",
            "`{id}` cannot be optional; write one endpoint with this segment and another without it",
        ),
        (
            "/a/{id}?",
            "`{id}` cannot be optional; write one endpoint with this segment and another without it",
        ),
        (
            "/a?b={c",
            "a path cannot contain a query; write `\"/a\"`, and extract the query with `Query<T>`",
        ),
        (
            "/straße/{größe}/ü",
            "clients encode a path before they send it; write `stra%C3%9Fe` instead of `straße`, as in `\"/stra%C3%9Fe/{größe}/%C3%BC\"`",
        ),
        (
            "/a#b",
            "a path cannot contain a fragment; write `\"/a\"`, since clients do not send fragments",
        ),
    ] {
        assert_eq!(problems(path), [problem], "{path}");
    }
    assert_eq!(problems("/{id/{}/{a}b/c}").len(), 4);
}
