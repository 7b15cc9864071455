//! The tokens of the macros inside an endpoint, which no parser of ours understands: `select!`, `join!`, the user's own.
//!
//! What leaves the function from in there has to be seen all the same: `yield_!`, `return` and `?`. All three can be
//! told by their tokens alone; what belongs to a closure, an `async` block or a function in there is left as it is.

use proc_macro2::{Delimiter, Group, Ident, Spacing, Span, TokenStream, TokenTree};

/// What becomes of the tokens that leave the function.
pub(crate) trait Leaving {
    /// `return` with its operand, which is empty where there is none.
    fn on_return(&mut self, token: Ident, operand: TokenStream) -> TokenStream;
    /// The tokens for a `?` behind an expression.
    fn on_try(&mut self, question: TokenTree) -> TokenStream;
}

/// Rewrites what leaves the function in `tokens`.
pub(crate) fn rewrite(tokens: TokenStream, leaving: &mut impl Leaving) -> TokenStream {
    let mut out = TokenStream::new();
    let mut tokens = tokens.into_iter().peekable();
    let mut before = Before::Start;
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Ident(ident) if ident == "return" && before.allows_expression() => {
                let mut operand = TokenStream::new();
                while let Some(next) =
                    tokens.next_if(|next| !is_punct(next, ';') && !is_punct(next, ','))
                {
                    operand.extend([next]);
                }
                let operand = rewrite(operand, leaving);
                out.extend(leaving.on_return(ident, operand));
                before = Before::Operand;
            }
            TokenTree::Ident(ident) if ident == "async" || ident == "fn" => {
                // Up to and with its block; `async` without one is an `async` closure, which its bars tell.
                let is_fn = ident == "fn";
                out.extend([TokenTree::Ident(ident)]);
                while let Some(next) = tokens.next_if(|next| is_fn || is_ident(next, "move")) {
                    let block = is_block(&next);
                    out.extend([next]);
                    if block {
                        break;
                    }
                }
                if !is_fn && let Some(block) = tokens.next_if(is_block) {
                    out.extend([block]);
                }
                before = Before::Start;
            }
            TokenTree::Punct(bar) if bar.as_char() == '|' && before.allows_expression() => {
                // A closure: its parameters, then a block, or an expression up to the next comma.
                let empty = bar.spacing() == Spacing::Joint;
                out.extend([TokenTree::Punct(bar)]);
                let mut open = true;
                if empty && let Some(close) = tokens.next_if(|next| is_punct(next, '|')) {
                    out.extend([close]);
                    open = false;
                }
                while open && let Some(next) = tokens.next() {
                    open = !is_punct(&next, '|');
                    out.extend([next]);
                }
                let mut first = true;
                while let Some(next) =
                    tokens.next_if(|next| !is_punct(next, ';') && !is_punct(next, ','))
                {
                    let block = first && is_block(&next);
                    first = false;
                    out.extend([next]);
                    if block {
                        break;
                    }
                }
                before = Before::Operand;
            }
            TokenTree::Punct(question)
                if question.as_char() == '?' && before == Before::Operand =>
            {
                out.extend(leaving.on_try(TokenTree::Punct(question)));
            }
            TokenTree::Group(group) => {
                let mut inner = Group::new(group.delimiter(), rewrite(group.stream(), leaving));
                inner.set_span(group.span());
                out.extend([TokenTree::Group(inner)]);
                before = Before::Operand;
            }
            token => {
                // The second bar of an `||` between two operands opens no closure.
                let or = is_punct(&token, '|')
                    .then(|| tokens.next_if(|next| is_punct(next, '|')))
                    .flatten();
                before = match &token {
                    TokenTree::Ident(ident) if is_keyword(ident) => Before::Start,
                    TokenTree::Ident(_) | TokenTree::Literal(_) => Before::Operand,
                    _ => Before::Start,
                };
                out.extend([token]);
                out.extend(or);
            }
        }
    }
    out
}

/// What the token before says of the next one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// An expression may begin here.
    Start,
    /// An expression has just ended, or may have.
    Operand,
}

impl Before {
    fn allows_expression(self) -> bool {
        self == Self::Start
    }
}

fn is_keyword(ident: &Ident) -> bool {
    const KEYWORDS: [&str; 12] = [
        "return", "break", "move", "in", "if", "else", "match", "while", "let", "mut", "ref",
        "loop",
    ];
    KEYWORDS.iter().any(|keyword| ident == keyword)
}

fn is_punct(token: &TokenTree, char: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == char)
}

fn is_ident(token: &TokenTree, name: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == name)
}

fn is_block(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}

/// The first call of one of these macros in `tokens`, at any depth.
pub(crate) fn find_call(tokens: TokenStream, names: &[String]) -> Option<Span> {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Ident(ident)
                if names.iter().any(|name| ident == name)
                    && tokens.peek().is_some_and(|next| is_punct(next, '!')) =>
            {
                return Some(ident.span());
            }
            TokenTree::Group(group) => {
                if let Some(found) = find_call(group.stream(), names) {
                    return Some(found);
                }
            }
            _ => {}
        }
    }
    None
}

/// The tokens with every call of one of these macros replaced by `()`.
pub(crate) fn without_calls(tokens: TokenStream, names: &[String]) -> TokenStream {
    let mut out = TokenStream::new();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Ident(ident)
                if names.iter().any(|name| ident == name)
                    && tokens.peek().is_some_and(|next| is_punct(next, '!')) =>
            {
                tokens.next();
                tokens.next_if(|next| matches!(next, TokenTree::Group(_)));
                out.extend([TokenTree::Group(Group::new(
                    Delimiter::Parenthesis,
                    TokenStream::new(),
                ))]);
            }
            TokenTree::Group(group) => {
                let mut inner = Group::new(group.delimiter(), without_calls(group.stream(), names));
                inner.set_span(group.span());
                out.extend([TokenTree::Group(inner)]);
            }
            token => out.extend([token]),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    struct Marked;

    impl Leaving for Marked {
        fn on_return(&mut self, _: Ident, operand: TokenStream) -> TokenStream {
            quote!(leave(#operand))
        }

        fn on_try(&mut self, _: TokenTree) -> TokenStream {
            quote!(.tried())
        }
    }

    fn check(input: TokenStream, output: TokenStream) {
        assert_eq!(rewrite(input, &mut Marked).to_string(), output.to_string());
    }

    #[test]
    fn returns_and_question_marks_are_found_at_any_depth() {
        check(
            quote!(x = f() => { if x { return; } g(x?).await?; return Err(a, b) } _ = h() => return,),
            quote!(x = f() => { if x { leave(); } g(x.tried()).await.tried(); leave(Err(a, b)) } _ = h() => leave(),),
        );
    }

    #[test]
    fn what_is_not_ours_is_left() {
        for input in [
            quote!(|x| x?, 1),
            quote!(|| {
                return;
            }),
            quote!(move |x, y| { f(x?)? }),
            quote!(async {
                return;
            }),
            quote!(async move { x? }),
            quote!(async move |x| { x? }),
            quote!(
                fn f(x: u8) -> Option<u8> {
                    return g(x?);
                }
            ),
            quote!(?x, y = ?z, %w),
            quote!(T: ?Sized),
        ] {
            check(input.clone(), input);
        }
    }

    #[test]
    fn bars_that_are_no_closure_are_told_apart() {
        check(quote!(a || b?), quote!(a || b.tried()));
        check(
            quote!(matches!(x, A | B) && y?),
            quote!(matches!(x, A | B) && y.tried()),
        );
    }
}
