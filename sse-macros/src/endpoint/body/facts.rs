//! Determines properties of the statements from their tokens.

use proc_macro2::{Spacing, TokenStream, TokenTree};
use quote::ToTokens as _;
use syn::{Expr, ExprCall, ExprYield, Item, Stmt};

use super::{
    known_macros::{KNOWN_MACROS, TOKIOS_MACROS},
    tokens::{self, is_keyword},
    yields::{YIELD, YIELD_ALL},
};

/// Returns a predicate that uses a statement's tokens to determine whether the statement yields.
pub(crate) fn yield_predicate(statements: &[Stmt]) -> impl Fn(&Stmt) -> bool + use<> {
    let yielding = yielding_macros(statements);
    move |statement| !is_macro_definition(statement) && finds(statement, &yielding)
}

/// Returns the names of `yield_!`, `yield_all!` and every macro defined in the function that calls
/// one of them.
fn yielding_macros(statements: &[Stmt]) -> Vec<String> {
    let mut names = vec![YIELD.to_owned(), YIELD_ALL.to_owned()];
    for statement in statements {
        if let Stmt::Item(Item::Macro(item)) = statement
            && let Some(name) = &item.ident
            && tokens::find_call(item.mac.tokens.clone(), &names).is_some()
        {
            names.push(name.to_string());
        }
    }
    names
}

fn is_macro_definition(statement: &Stmt) -> bool {
    matches!(statement, Stmt::Item(Item::Macro(item)) if item.ident.is_some())
}

fn finds(statement: &Stmt, names: &[String]) -> bool {
    tokens::find_call(statement.to_token_stream(), names).is_some()
        || contains_yield_keyword(statement)
}

fn contains_yield_keyword(statement: &Stmt) -> bool {
    struct Find(bool);
    impl<'ast> syn::visit::Visit<'ast> for Find {
        fn visit_expr_yield(&mut self, _: &'ast ExprYield) {
            self.0 = true;
        }
    }
    let mut find = Find(false);
    syn::visit::Visit::visit_stmt(&mut find, statement);
    find.0
}

/// Returns `true` if the rewritten statements might still call `yield_!` or `yield_all!`.
///
/// An unknown macro might expand to such a call. An identifier that is a prefix of `yield_all` also
/// counts. If the macro is in scope, the compiler can hint that a `!` is missing, and an editor can
/// complete a name that is still being typed.
pub(super) fn needs_yield_macros(statements: TokenStream) -> bool {
    let mut tokens = statements.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let needs = match token {
            TokenTree::Group(group) => needs_yield_macros(group.stream()),
            TokenTree::Ident(word) => {
                // `word != …` is a comparison, not a call.
                let is_call = matches!(
                    tokens.peek(),
                    Some(TokenTree::Punct(bang))
                        if bang.as_char() == '!' && bang.spacing() == Spacing::Alone
                );
                let is_known = || {
                    let mut known = KNOWN_MACROS.iter().chain(&TOKIOS_MACROS);
                    is_keyword(&word) || known.any(|known| word == known)
                };
                YIELD_ALL.starts_with(&word.to_string()) || (is_call && !is_known())
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => false,
        };
        if needs {
            return true;
        }
    }
    false
}

/// Returns `true` if an expression is a call whose path names the variant `name`. For example,
/// `Ok(…)` and `Result::Ok(…)` count as `Ok`, but `Reply::Ok(…)` does not.
pub(crate) fn is_call_of(expr: &Expr, name: &str) -> bool {
    let Expr::Call(ExprCall { func, .. }) = expr else {
        return false;
    };
    let Expr::Path(path) = &**func else {
        return false;
    };
    let mut segments = path.path.segments.iter().rev();
    segments.next().is_some_and(|last| last.ident == name)
        && segments.next().is_none_or(|owner| owner.ident == "Result")
}

/// Returns `true` if an expression is a literal, or if it constructs a struct, an array or a tuple.
pub(super) fn is_literal(expr: &Expr) -> bool {
    match expr {
        Expr::Lit(_) | Expr::Struct(_) | Expr::Array(_) => true,
        Expr::Tuple(tuple) => !tuple.elems.is_empty(),
        _ => false,
    }
}
