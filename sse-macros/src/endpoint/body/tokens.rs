//! Rewrites the tokens of foreign macros in an endpoint, such as `select!` and `join!`.
//!
//! Such a macro has its own syntax, so its tokens might not parse as Rust code. However, `yield_!`,
//! `return` and `?` can be recognized without parsing. These tokens are left unchanged inside
//! closures, `async` blocks and functions.

use std::iter::Peekable;

use proc_macro2::{
    Delimiter, Group, Ident, Punct, Spacing, Span, TokenStream, TokenTree, token_stream,
};
use syn::{Macro, parse_quote};

use super::yields::Yield;

/// Replaces the tokens that leave or suspend the function.
pub(crate) trait ExitTokens {
    /// Replaces a `return` and its operand, which may be empty.
    fn on_return(&mut self, token: Ident, operand: TokenStream) -> TokenStream;
    /// Replaces a `?` after an expression.
    fn on_try(&mut self, question: TokenTree) -> TokenStream;
    /// Replaces a call to `yield_!` or `yield_all!`.
    fn on_yield(&mut self, call: Yield, mac: Macro) -> TokenStream;
}

/// Replaces the function's exits in `tokens`.
pub(crate) fn rewrite(tokens: TokenStream, exits: &mut impl ExitTokens) -> TokenStream {
    let mut rewriter = Rewriter {
        tokens: tokens.into_iter().peekable(),
        out: TokenStream::new(),
        before: Before::Start,
        exits,
    };
    while let Some(token) = rewriter.tokens.next() {
        rewriter.token(token);
    }
    rewriter.out
}

struct Rewriter<'a, L> {
    tokens: Peekable<token_stream::IntoIter>,
    out: TokenStream,
    before: Before,
    exits: &'a mut L,
}

impl<L: ExitTokens> Rewriter<'_, L> {
    fn token(&mut self, token: TokenTree) {
        self.before = match token {
            TokenTree::Ident(name) => self.name(name),
            TokenTree::Group(group) => {
                let mut inner = Group::new(group.delimiter(), rewrite(group.stream(), self.exits));
                inner.set_span(group.span());
                self.out.extend([TokenTree::Group(inner)]);
                Before::Operand
            }
            TokenTree::Punct(punct) => self.punct(punct),
            literal @ TokenTree::Literal(_) => {
                self.out.extend([literal]);
                Before::Operand
            }
        };
    }

    fn name(&mut self, name: Ident) -> Before {
        if name == "return" {
            let operand = rewrite(self.up_to_separator(), self.exits);
            let rewritten = self.exits.on_return(name, operand);
            self.out.extend(rewritten);
            return Before::Operand;
        }
        if let Some(call) = Yield::named(&name)
            && self.tokens.peek().is_some_and(|next| is_punct(next, '!'))
        {
            self.yielded(call, &name);
            return Before::Operand;
        }
        // `fn` is followed by a name in a function item, but not in a function pointer type.
        let is_fn = name == "fn" && matches!(self.tokens.peek(), Some(TokenTree::Ident(_)));
        let opens_block = name == "async" || is_fn;
        let before = if is_keyword(&name) {
            Before::Start
        } else {
            Before::Operand
        };
        self.out.extend([TokenTree::Ident(name)]);
        if !opens_block {
            return before;
        }
        // Copy everything up to the end of the block. An `async` that is not followed by a block
        // starts an `async` closure, which is recognized by its bars.
        while let Some(next) = self
            .tokens
            .next_if(|next| !is_block(next) && (is_fn || is_ident(next, "move")))
        {
            self.out.extend([next]);
        }
        self.out.extend(self.tokens.next_if(is_block));
        Before::Start
    }

    fn punct(&mut self, punct: Punct) -> Before {
        match punct.as_char() {
            '|' if self.before == Before::Start => {
                self.closure(punct);
                Before::Operand
            }
            '?' if self.before == Before::Operand => {
                let rewritten = self.exits.on_try(TokenTree::Punct(punct));
                self.out.extend(rewritten);
                Before::Operand
            }
            '|' => {
                // The second bar of a `||` between two operands does not open a closure.
                self.out.extend([TokenTree::Punct(punct)]);
                self.out
                    .extend(self.tokens.next_if(|next| is_punct(next, '|')));
                Before::Start
            }
            _ => {
                self.out.extend([TokenTree::Punct(punct)]);
                Before::Start
            }
        }
    }

    /// Copies a closure's parameters and its body. The body is either a block or an expression that
    /// ends at the next separator.
    fn closure(&mut self, bar: Punct) {
        let joint = bar.spacing() == Spacing::Joint;
        self.out.extend([TokenTree::Punct(bar)]);
        let empty = self.tokens.next_if(|next| joint && is_punct(next, '|'));
        let mut open = empty.is_none();
        self.out.extend(empty);
        while open && let Some(next) = self.tokens.next() {
            open = !is_punct(&next, '|');
            self.out.extend([next]);
        }
        // A return type may contain commas, but it is always followed by a block.
        if self.tokens.peek().is_some_and(|next| is_punct(next, '-')) {
            let mut arrow = self.tokens.clone();
            arrow.next();
            if arrow.peek().is_some_and(|next| is_punct(next, '>')) {
                while let Some(next) = self.tokens.next_if(|next| !is_block(next)) {
                    self.out.extend([next]);
                }
            }
        }
        match self.tokens.next_if(is_block) {
            Some(block) => self.out.extend([block]),
            None => {
                let body = self.up_to_separator();
                self.out.extend(body);
            }
        }
    }

    fn yielded(&mut self, call: Yield, name: &Ident) {
        let bang = self.tokens.next();
        let rewritten = match self
            .tokens
            .next_if(|next| matches!(next, TokenTree::Group(_)))
        {
            // The `$` shows that this call is in the body of a nested `macro_rules!`, where the
            // variables are not expressions yet. Therefore, leave the call unchanged.
            Some(operand) if has_dollar(&operand) => quote::quote!(#name #bang #operand),
            Some(operand) => self
                .exits
                .on_yield(call, parse_quote!(#name #bang #operand)),
            None => quote::quote!(#name #bang),
        };
        self.out.extend(rewritten);
    }

    fn up_to_separator(&mut self) -> TokenStream {
        let mut tokens = TokenStream::new();
        while let Some(next) = self
            .tokens
            .next_if(|next| !is_punct(next, ';') && !is_punct(next, ','))
        {
            tokens.extend([next]);
        }
        tokens
    }
}

fn has_dollar(token: &TokenTree) -> bool {
    match token {
        TokenTree::Group(group) => group.stream().into_iter().any(|token| has_dollar(&token)),
        token => is_punct(token, '$'),
    }
}

/// The role of the previous token.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// An expression can start after the previous token.
    Start,
    /// The previous token ends an expression, or might end one.
    Operand,
}

pub(super) fn is_keyword(ident: &Ident) -> bool {
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

/// Returns the span of the first call to one of the named macros in `tokens`, at any depth.
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

/// Replaces every call to one of the named macros with `()`.
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

    impl ExitTokens for Marked {
        fn on_return(&mut self, _: Ident, operand: TokenStream) -> TokenStream {
            quote!(leave(#operand))
        }

        fn on_try(&mut self, _: TokenTree) -> TokenStream {
            quote!(.tried())
        }

        fn on_yield(&mut self, _: Yield, mac: Macro) -> TokenStream {
            let operand = mac.tokens;
            quote!(yielded(#operand))
        }
    }

    fn check(input: TokenStream, output: &TokenStream) {
        assert_eq!(rewrite(input, &mut Marked).to_string(), output.to_string());
    }

    #[test]
    fn exits_are_found_at_any_depth() {
        check(
            quote!(x = f() => { if x { return; } g(x?).await?; return Err(a, b) } _ = h() => return,),
            &quote!(x = f() => { if x { leave(); } g(x.tried()).await.tried(); leave(Err(a, b)) } _ = h() => leave(),),
        );
    }

    #[test]
    fn yields_are_found_at_any_depth() {
        check(
            quote!(x = f() => { yield_!(x); } _ = g() => yield_all!(y),),
            &quote!(x = f() => { yielded(x); } _ = g() => yielded(y),),
        );
    }

    #[test]
    fn tokens_of_other_code_are_left_unchanged() {
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
            quote!(|x| yield_!(x), 1),
            quote!(
                macro_rules! emit {
                    ($x:expr) => {
                        yield_!($x)
                    };
                }
            ),
        ] {
            check(input.clone(), &input);
        }
    }

    #[test]
    fn bars_between_operands_do_not_open_a_closure() {
        check(quote!(a || b?), &quote!(a || b.tried()));
        check(
            quote!(matches!(x, A | B) && y?),
            &quote!(matches!(x, A | B) && y.tried()),
        );
    }
}
