//! Finds loops that never yield to the executor. The tokens of such a loop contain nothing that
//! waits, yields or leaves the loop.
//!
//! An unknown macro might do any of these things, so a loop that contains an unknown macro is not
//! reported. A loop that appears to call a function that never returns is not reported either.

use proc_macro2::{Spacing, Span, TokenStream, TokenTree};
use syn::{
    Block, Expr, ExprBlock, ExprCall, ExprLit, ExprLoop, ExprWhile, Item, Label, Lifetime, Lit,
    Local, Macro, Stmt,
    visit::{self, Visit},
};

use crate::endpoint::body::{
    known_macros::{KNOWN_MACROS, TOKIOS_MACROS},
    yields::YIELD,
};

/// A `loop { … }` or `while true { … }`.
pub(crate) struct EndlessLoop<'a> {
    pub(crate) keyword: Span,
    label: Option<&'a Label>,
    body: &'a Block,
}

impl<'a> EndlessLoop<'a> {
    pub(crate) fn of(expr: &'a Expr) -> Option<Self> {
        match expr {
            Expr::Loop(ExprLoop {
                loop_token,
                label,
                body,
                ..
            }) => Some(Self {
                keyword: loop_token.span,
                label: label.as_ref(),
                body,
            }),
            Expr::While(ExprWhile {
                while_token,
                label,
                cond,
                body,
                ..
            }) if is_true(cond) => Some(Self {
                keyword: while_token.span,
                label: label.as_ref(),
                body,
            }),
            _ => None,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.body.stmts.is_empty()
    }

    /// Returns `true` if nothing in the loop waits, yields or leaves the loop.
    pub(crate) fn is_busy(&self) -> bool {
        !self.has_way_out(true)
    }

    /// Returns `true` if nothing leaves the loop, even if something in it waits.
    pub(crate) fn never_ends(&self) -> bool {
        !self.has_way_out(false)
    }

    fn has_way_out(&self, waiting_is_one: bool) -> bool {
        let mut ways = WaysOut {
            own: self.label.map(|label| &label.name),
            inside: Vec::new(),
            loops: 0,
            waiting_is_one,
            found: false,
        };
        ways.visit_block(self.body);
        ways.found
    }
}

/// Finds an endless loop in the function's outermost block and returns the span of the loop's
/// keyword.
pub(crate) fn never_ending(statements: &[Stmt]) -> Option<Span> {
    statements.iter().find_map(|statement| {
        let Stmt::Expr(expr, _) = statement else {
            return None;
        };
        let endless = EndlessLoop::of(expr)?;
        endless.never_ends().then_some(endless.keyword)
    })
}

fn is_true(cond: &Expr) -> bool {
    matches!(cond, Expr::Lit(ExprLit { lit: Lit::Bool(lit), .. }) if lit.value)
}

/// Finds code that leaves a loop or waits inside it.
struct WaysOut<'a> {
    own: Option<&'a Lifetime>,
    /// The labels of the nested loops and blocks around the current expression.
    inside: Vec<&'a Lifetime>,
    /// The number of nested loops around the current expression.
    loops: usize,
    /// Whether waiting and yielding count as ways out of the loop.
    waiting_is_one: bool,
    found: bool,
}

impl<'a> WaysOut<'a> {
    fn labelled(&mut self, label: Option<&'a Label>, visit: impl FnOnce(&mut Self)) {
        let outside = self.inside.len();
        self.inside.extend(label.map(|label| &label.name));
        visit(self);
        self.inside.truncate(outside);
    }

    fn inner_loop(&mut self, label: Option<&'a Label>, expr: &'a Expr) {
        self.loops += 1;
        self.labelled(label, |ways| visit::visit_expr(ways, expr));
        self.loops -= 1;
    }

    fn is_inside(&self, label: &Lifetime) -> bool {
        self.inside.contains(&label)
    }
}

impl<'a> Visit<'a> for WaysOut<'a> {
    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            // Skip closures and `async` blocks, because they may run elsewhere or not at all.
            Expr::Closure(_) | Expr::Async(_) => return,
            Expr::Loop(inner) => return self.inner_loop(inner.label.as_ref(), expr),
            Expr::While(inner) => return self.inner_loop(inner.label.as_ref(), expr),
            Expr::ForLoop(inner) => return self.inner_loop(inner.label.as_ref(), expr),
            Expr::Block(inner) => {
                return self.labelled(inner.label.as_ref(), |ways| visit::visit_expr(ways, expr));
            }
            Expr::Await(_) | Expr::Yield(_) => self.found |= self.waiting_is_one,
            Expr::Try(_) | Expr::Return(_) | Expr::Verbatim(_) => self.found = true,
            Expr::Break(inner) => {
                self.found |= match &inner.label {
                    Some(label) => !self.is_inside(label),
                    None => self.loops == 0,
                };
            }
            // A `continue` with the label of a surrounding loop leaves the checked loop.
            Expr::Continue(inner) => {
                self.found |= inner
                    .label
                    .as_ref()
                    .is_some_and(|label| !self.is_inside(label) && Some(label) != self.own);
            }
            Expr::Call(ExprCall { func, .. }) => self.found |= never_returns(func),
            _ => {}
        }
        visit::visit_expr(self, expr);
    }

    fn visit_local(&mut self, local: &'a Local) {
        let diverge = local.init.as_ref().and_then(|init| init.diverge.as_ref());
        self.found |= diverge.is_some_and(|(_, diverge)| ends_with_call(diverge));
        visit::visit_local(self, local);
    }

    fn visit_macro(&mut self, call: &'a Macro) {
        self.found |= if self.waiting_is_one {
            !is_harmless(call)
        } else {
            !stays(call)
        };
    }

    fn visit_item(&mut self, _: &'a Item) {}
}

/// Returns `true` if an expression is a block that ends with a call. The `else` block of a `let`
/// must diverge, so a call at its end never returns.
fn ends_with_call(block: &Expr) -> bool {
    let Expr::Block(ExprBlock { block, .. }) = block else {
        return false;
    };
    matches!(
        block.stmts.last(),
        Some(Stmt::Expr(Expr::Call(_) | Expr::MethodCall(_), _))
    )
}

/// Returns `true` if a function's last path segment is the name of a std function that never
/// returns.
fn never_returns(func: &Expr) -> bool {
    const NEVER_RETURN: [&str; 5] = [
        "abort",
        "exit",
        "panic_any",
        "resume_unwind",
        "unreachable_unchecked",
    ];
    matches!(func, Expr::Path(path) if path.path.segments.last().is_some_and(|last| {
        NEVER_RETURN.iter().any(|name| last.ident == name)
    }))
}

/// Macros that can panic.
const PANIC: [&str; 7] = [
    "assert",
    "assert_eq",
    "assert_ne",
    "debug_assert",
    "panic",
    "todo",
    "unreachable",
];

fn is_one_of(call: &Macro, names: &[&str]) -> bool {
    matches!(call.path.segments.last(), Some(last) if names.iter().any(|name| last.ident == name))
}

/// Returns `true` if a macro is known to only compute a value.
fn is_harmless(call: &Macro) -> bool {
    is_one_of(call, &KNOWN_MACROS) && !is_one_of(call, &PANIC) && !may_leave(call.tokens.clone())
}

/// Returns `true` if a macro is known not to leave the loop, even if it waits. `yield_all!` can
/// leave the loop if its stream fails.
fn stays(call: &Macro) -> bool {
    let waits = is_one_of(call, &TOKIOS_MACROS) || is_one_of(call, &[YIELD]);
    let is_known = waits || is_one_of(call, &KNOWN_MACROS) && !is_one_of(call, &PANIC);
    is_known && !leaves(call.tokens.clone())
}

/// Returns `true` if the tokens contain a `?`, a keyword that leaves a loop, or a call to a macro
/// that is not `yield_!`.
fn leaves(tokens: TokenStream) -> bool {
    let mut before = None;
    tokens.into_iter().any(|token| {
        let leaves = match &token {
            TokenTree::Group(group) => leaves(group.stream()),
            TokenTree::Ident(word) => word == "break" || word == "return",
            TokenTree::Punct(punct) => match punct.as_char() {
                '?' => true,
                // This is the `!` of a macro call. A negating `!` does not follow a name, and the
                // `!` in `!=` is joined to the `=`.
                '!' => {
                    punct.spacing() == Spacing::Alone
                        && matches!(&before, Some(TokenTree::Ident(name)) if name != YIELD)
                }
                _ => false,
            },
            TokenTree::Literal(_) => false,
        };
        before = Some(token);
        leaves
    })
}

/// Returns `true` if the tokens contain a `?`, a keyword that waits or leaves a loop, or a macro
/// call.
fn may_leave(tokens: TokenStream) -> bool {
    const WORDS: [&str; 5] = ["await", "break", "continue", "return", "yield"];
    tokens.into_iter().any(|token| match token {
        TokenTree::Group(group) => may_leave(group.stream()),
        TokenTree::Ident(word) => WORDS.iter().any(|known| word == known),
        TokenTree::Punct(punct) => matches!(punct.as_char(), '?' | '!'),
        TokenTree::Literal(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_busy(code: &str) -> bool {
        let expr = syn::parse_str(code).unwrap();
        EndlessLoop::of(&expr).unwrap().is_busy()
    }

    #[test]
    fn exits_of_other_code_do_not_end_a_busy_loop() {
        for code in [
            "loop {}",
            "while true { count += 1; }",
            "loop { while work() { break; } }",
            "loop { 'inner: loop { loop { break 'inner; } } }",
            "loop { 'block: { break 'block; } }",
            "'own: loop { for _ in work() { continue 'own; } }",
            "loop { work(|| return); }",
            "loop { let later = async { work().await?; }; }",
            "loop { fn leaves() { return; } }",
            "loop { println!(\"{}\", count); }",
            "loop { let Some(_) = work() else { continue }; }",
        ] {
            assert!(is_busy(code), "{code}");
        }
    }

    #[test]
    fn waiting_does_not_end_a_loop() {
        let never_ends = |code: &str| {
            let expr = syn::parse_str(code).unwrap();
            EndlessLoop::of(&expr).unwrap().never_ends()
        };
        for code in [
            "loop { tick().await; yield_!(now()); }",
            "while true { tokio::select! { tick = ticks() => yield_!(tick), } }",
            "loop { tokio::select! { tick = ticks(), if tick != last && !done => yield_!(tick) } }",
            "loop { while let Some(tick) = next().await { if tick.is_last() { break; } } }",
            "loop { for tick in ticks { println!(\"{tick}\"); continue; } }",
        ] {
            assert!(never_ends(code), "{code}");
        }
        for code in [
            "loop { yield_!(next().await?); }",
            "loop { let Some(tick) = next().await else { break }; yield_!(tick); }",
            "loop { tokio::select! { tick = ticks() => yield_!(tick?), } }",
            "loop { tokio::select! { () = over() => return, } }",
            "loop { unknown!(); }",
            "loop { tokio::select! { () = over() => unknown!(), } }",
            "loop { yield_all!(ticks()); }",
            "loop { panic!(); }",
            "loop { std::process::exit(0); }",
        ] {
            assert!(!never_ends(code), "{code}");
        }
    }

    #[test]
    fn loops_with_possible_exits_are_not_reported() {
        for code in [
            "loop { work().await; }",
            "loop { yield_!(1); }",
            "loop { break; }",
            "'own: loop { loop { break 'own; } }",
            "'own: loop { 'block: { break 'own; } }",
            "loop { continue 'around; }",
            "loop { work()?; }",
            "loop { for _ in work()? {} }",
            "loop { if work() { return; } }",
            "loop { unknown!(); }",
            "loop { println!(\"{}\", work().await); }",
            "loop { println!(\"{}\", unknown!()); }",
            "loop { todo!(); }",
            "loop { assert_eq!(work(), 1); }",
            "loop { std::process::abort(); }",
            "loop { let Some(_) = work() else { end() }; }",
        ] {
            assert!(!is_busy(code), "{code}");
        }
    }
}
