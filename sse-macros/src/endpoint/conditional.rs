//! Handles conditional code, which is code under a `#[cfg(…)]` inside an endpoint.
//!
//! When an attribute macro runs, the compiler has not yet removed the conditional code, and only
//! the compiler can evaluate a predicate. Therefore, the macro emits two copies of the endpoint.
//! The copy under `#[cfg(predicate)]` contains the conditional code, and the copy under
//! `#[cfg(not(predicate))]` does not. The compiler removes one copy, and the attribute expands the
//! remaining one. This process repeats until no predicate is left.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{
    Attribute, Block, Expr, ExprMatch, ExprStruct, FnArg, ItemFn, ItemMacro, Macro, MacroDelimiter,
    Meta, PatStruct, Signature, Stmt, Token,
    parse::{ParseStream, Parser as _},
    punctuated::Punctuated,
    visit_mut::{self, VisitMut},
};

use super::{args::Args, attributes};
use crate::support::{errors::Errors, runtime_path::Runtime};

/// Generates the endpoint for both outcomes of its first predicate. Returns `None` if the endpoint
/// contains no conditional code.
pub(crate) fn both_outcomes(attribute: &TokenStream, item: &TokenStream) -> Option<TokenStream> {
    if !mentions_cfg(item.clone()) {
        return None;
    }
    // Items that are not functions or do not parse are reported elsewhere.
    let function: ItemFn = syn::parse2(item.clone()).ok()?;
    let predicate = first_predicate(&function)?;
    let args = Args::parse(attribute.clone(), &mut Errors::default());
    let runtime = Runtime::new(args.runtime.get());
    let [with, without] = [true, false].map(|holds| decided(&function, &predicate, holds));
    Some(quote! {
        #[cfg(#predicate)]
        #[#runtime::sse_endpoint(#attribute)]
        #with

        #[cfg(not(#predicate))]
        #[#runtime::sse_endpoint(#attribute)]
        #without
    })
}

fn mentions_cfg(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Group(group) => mentions_cfg(group.stream()),
        TokenTree::Ident(ident) => ident == "cfg" || ident == "cfg_attr",
        _ => false,
    })
}

fn first_predicate(function: &ItemFn) -> Option<TokenStream> {
    let mut visitor = CfgVisitor {
        task: Task::Find(None),
    };
    visitor.function(&mut function.clone());
    match visitor.task {
        Task::Find(found) => found,
        Task::Decide { .. } => None,
    }
}

/// Returns the function as it would be if the predicate evaluated to `holds`.
fn decided(function: &ItemFn, predicate: &TokenStream, holds: bool) -> ItemFn {
    let mut function = function.clone();
    let predicate = predicate.to_string();
    let mut visitor = CfgVisitor {
        task: Task::Decide { predicate, holds },
    };
    visitor.function(&mut function);
    function
}

enum Task {
    /// Find the first predicate.
    Find(Option<TokenStream>),
    /// Remove one predicate. If the predicate is false, also remove the code that depends on it.
    Decide { predicate: String, holds: bool },
}

/// Visits all code that the compiler can remove. Both tasks use the same traversal, so `Decide` can
/// remove every predicate that `Find` returns.
struct CfgVisitor {
    task: Task,
}

/// The position of an attribute.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Position {
    OnFunction,
    Inside,
}

/// The result of visiting a node.
#[derive(PartialEq, Eq)]
enum Outcome {
    Same,
    /// The node's attributes have changed.
    Changed,
    Removed,
}

impl CfgVisitor {
    fn function(&mut self, function: &mut ItemFn) {
        self.attributes(&mut function.attrs, Position::OnFunction);
        self.visit_item_fn_mut(function);
    }

    fn attributes(&mut self, attributes: &mut Vec<Attribute>, position: Position) -> Outcome {
        let mut outcome = Outcome::Same;
        let mut at = 0;
        while let Some(attribute) = attributes.get(at) {
            let Some((predicate, applied)) = condition(attribute, position) else {
                at += 1;
                continue;
            };
            match &mut self.task {
                Task::Find(found) => {
                    found.get_or_insert(predicate);
                    at += 1;
                }
                Task::Decide {
                    predicate: other, ..
                } if *other != predicate.to_string() => at += 1,
                Task::Decide { holds, .. } => {
                    attributes.remove(at);
                    outcome = Outcome::Changed;
                    match applied {
                        None if !*holds => return Outcome::Removed,
                        Some(applied) if *holds => {
                            let applied =
                                applied.into_iter().map(|meta| syn::parse_quote!(#[#meta]));
                            attributes.splice(at..at, applied);
                        }
                        _ => {}
                    }
                }
            }
        }
        outcome
    }

    /// Returns `true` if the node with these attributes is kept.
    fn keeps(&mut self, attributes: &mut Vec<Attribute>) -> bool {
        self.attributes(attributes, Position::Inside) != Outcome::Removed
    }

    /// Like `keeps`, but for nodes whose attributes are accessible only through their tokens.
    fn keeps_parsed<T: ToTokens>(
        &mut self,
        node: &mut T,
        parse: impl Fn(TokenStream) -> Option<T>,
    ) -> bool {
        let split = |input: ParseStream<'_>| {
            let attributes = input.call(Attribute::parse_outer)?;
            Ok((attributes, input.parse::<TokenStream>()?))
        };
        let Ok((mut attributes, rest)) = split.parse2(node.to_token_stream()) else {
            return true;
        };
        match self.attributes(&mut attributes, Position::Inside) {
            Outcome::Removed => return false,
            Outcome::Changed => {
                if let Some(parsed) = parse(quote!(#(#attributes)* #rest)) {
                    *node = parsed;
                }
            }
            Outcome::Same => {}
        }
        true
    }

    fn keeps_statement(&mut self, statement: &mut Stmt) -> bool {
        match statement {
            Stmt::Local(local) => self.keeps(&mut local.attrs),
            Stmt::Macro(call) => self.keeps(&mut call.attrs),
            Stmt::Item(_) | Stmt::Expr(..) => self.keeps_parsed(statement, |tokens| {
                let statements = Block::parse_within.parse2(tokens).ok()?;
                let [statement] = <[Stmt; 1]>::try_from(statements).ok()?;
                Some(statement)
            }),
        }
    }

    fn expressions(&mut self, list: &mut Punctuated<Expr, Token![,]>) {
        list.retain(|expr| self.keeps_parsed(expr, |tokens| syn::parse2(tokens).ok()));
    }

    /// Visits the statements or expressions in a macro's tokens if they parse.
    fn tokens(&mut self, tokens: TokenStream, delimiter: Delimiter) -> TokenStream {
        if !mentions_cfg(tokens.clone()) {
            return tokens;
        }
        if delimiter == Delimiter::Brace
            && let Ok(stmts) = Block::parse_within.parse2(tokens.clone())
        {
            let mut block = Block {
                brace_token: syn::token::Brace::default(),
                stmts,
            };
            self.visit_block_mut(&mut block);
            let statements = block.stmts;
            return quote!(#(#statements)*);
        }
        let list = Punctuated::<Expr, Token![,]>::parse_terminated;
        if let Ok(mut list) = list.parse2(tokens.clone()) {
            // Leave a `#[cfg]` on an element to the macro, and visit only the code inside each
            // element.
            for expr in &mut list {
                self.visit_expr_mut(expr);
            }
            return list.into_token_stream();
        }
        let tokens = tokens.into_iter().map(|token| match token {
            TokenTree::Group(group) => {
                let inside = self.tokens(group.stream(), group.delimiter());
                let mut rewritten = Group::new(group.delimiter(), inside);
                rewritten.set_span(group.span());
                TokenTree::Group(rewritten)
            }
            token => token,
        });
        tokens.collect()
    }
}

impl VisitMut for CfgVisitor {
    fn visit_signature_mut(&mut self, signature: &mut Signature) {
        signature.inputs.retain(|input| match input {
            FnArg::Typed(argument) => self.keeps(&mut argument.attrs),
            FnArg::Receiver(receiver) => self.keeps(&mut receiver.attrs),
        });
        visit_mut::visit_signature_mut(self, signature);
    }

    fn visit_block_mut(&mut self, block: &mut Block) {
        block
            .stmts
            .retain_mut(|statement| self.keeps_statement(statement));
        visit_mut::visit_block_mut(self, block);
    }

    fn visit_expr_match_mut(&mut self, expr: &mut ExprMatch) {
        expr.arms.retain_mut(|arm| self.keeps(&mut arm.attrs));
        visit_mut::visit_expr_match_mut(self, expr);
    }

    fn visit_expr_struct_mut(&mut self, expr: &mut ExprStruct) {
        expr.fields.retain(|field| self.keeps(&mut field.attrs));
        visit_mut::visit_expr_struct_mut(self, expr);
    }

    fn visit_pat_struct_mut(&mut self, pat: &mut PatStruct) {
        pat.fields.retain(|field| self.keeps(&mut field.attrs));
        visit_mut::visit_pat_struct_mut(self, pat);
    }

    fn visit_expr_mut(&mut self, expr: &mut Expr) {
        match expr {
            Expr::Array(array) => self.expressions(&mut array.elems),
            Expr::Call(call) => self.expressions(&mut call.args),
            Expr::MethodCall(call) => self.expressions(&mut call.args),
            Expr::Tuple(tuple) => self.expressions(&mut tuple.elems),
            _ => {}
        }
        visit_mut::visit_expr_mut(self, expr);
    }

    fn visit_macro_mut(&mut self, call: &mut Macro) {
        let delimiter = match call.delimiter {
            MacroDelimiter::Brace(_) => Delimiter::Brace,
            MacroDelimiter::Paren(_) => Delimiter::Parenthesis,
            MacroDelimiter::Bracket(_) => Delimiter::Bracket,
        };
        call.tokens = self.tokens(std::mem::take(&mut call.tokens), delimiter);
    }

    // A `#[cfg]` in a `macro_rules!` is evaluated later, when the macro is expanded.
    fn visit_item_macro_mut(&mut self, _: &mut ItemMacro) {}
}

/// Returns the predicate of a `cfg` or `cfg_attr` that affects the expansion. For a `cfg_attr`,
/// also returns the attributes that it applies.
fn condition(
    attribute: &Attribute,
    position: Position,
) -> Option<(TokenStream, Option<Vec<Meta>>)> {
    let Meta::List(list) = &attribute.meta else {
        return None;
    };
    if list.path.is_ident("cfg") {
        // The compiler evaluates a `#[cfg]` on the function itself before the macro runs.
        return (position == Position::Inside).then(|| (list.tokens.clone(), None));
    }
    if !list.path.is_ident("cfg_attr") {
        return None;
    }
    let is_comma =
        |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',');
    let mut tokens = list.tokens.clone().into_iter();
    let predicate = tokens.by_ref().take_while(|token| !is_comma(token));
    let predicate: TokenStream = predicate.collect();
    let applied = Punctuated::<Meta, Token![,]>::parse_terminated.parse2(tokens.collect());
    let applied: Vec<Meta> = applied.ok()?.into_iter().collect();
    let matters = match position {
        // A `cfg_attr` can stay if all of its attributes belong to the outer function. Attributes
        // for the inner function are moved to that function one by one, so they cannot stay in a
        // `cfg_attr`.
        Position::OnFunction => !applied.iter().all(attributes::stays_outside),
        Position::Inside => applied.iter().any(|meta| meta.path().is_ident("cfg")),
    };
    matters.then_some((predicate, Some(applied)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the function once with `a` enabled and once with `a` disabled.
    fn outcomes(function: &str) -> [String; 2] {
        let function: ItemFn = syn::parse_str(function).unwrap();
        let predicate = first_predicate(&function).unwrap();
        assert_eq!(predicate.to_string(), "a");
        [true, false].map(|holds| {
            decided(&function, &predicate, holds)
                .into_token_stream()
                .to_string()
        })
    }

    fn normalized(function: &str) -> String {
        let function: ItemFn = syn::parse_str(function).unwrap();
        function.into_token_stream().to_string()
    }

    #[test]
    fn conditional_code_is_kept_or_removed() {
        for (function, with, without) in [
            (
                "fn f() { #[cfg(a)] yield_!(1); b(); }",
                "fn f() { yield_!(1); b(); }",
                "fn f() { b(); }",
            ),
            (
                "fn f() { loop { #[cfg(a)] { yield_!(1); } b() } }",
                "fn f() { loop { { yield_!(1); } b() } }",
                "fn f() { loop { b() } }",
            ),
            (
                "fn f() { #[cfg(a)] let b = yield_!(1); #[cfg(a)] b = 2; #[cfg(a)] fn g() {} }",
                "fn f() { let b = yield_!(1); b = 2; fn g() {} }",
                "fn f() {}",
            ),
            (
                "fn f() { match b { #[cfg(a)] 1 => yield_!(1), _ => {} } }",
                "fn f() { match b { 1 => yield_!(1), _ => {} } }",
                "fn f() { match b { _ => {} } }",
            ),
            (
                "fn f() { g(#[cfg(a)] { yield_!(1); }, B { #[cfg(a)] c: 1, ..d }, [#[cfg(a)] 1]); }",
                "fn f() { g({ yield_!(1); }, B { c: 1, ..d }, [1]); }",
                "fn f() { g(B { ..d }, []); }",
            ),
            (
                "fn f() { select! { b = c() => { #[cfg(a)] yield_!(1); d() } } }",
                "fn f() { select! { b = c() => { yield_!(1); d() } } }",
                "fn f() { select! { b = c() => { d() } } }",
            ),
            (
                "fn f() { yield_!(B { c: match d { #[cfg(a)] 1 => 2, _ => 3 } }); }",
                "fn f() { yield_!(B { c: match d { 1 => 2, _ => 3 } }); }",
                "fn f() { yield_!(B { c: match d { _ => 3 } }); }",
            ),
            (
                "fn f(#[cfg(a)] b: B, #[cfg(a)] c: C) { #[cfg(d)] g(); }",
                "fn f(b: B, c: C) { #[cfg(d)] g(); }",
                "fn f() { #[cfg(d)] g(); }",
            ),
            (
                "#[cfg_attr(a, instrument(skip(b)), doc = \"c\")] fn f() {}",
                "#[instrument(skip(b))] #[doc = \"c\"] fn f() {}",
                "fn f() {}",
            ),
            (
                "fn f(#[cfg_attr(a, cfg(b))] c: C) {}",
                "fn f(#[cfg(b)] c: C) {}",
                "fn f(c: C) {}",
            ),
        ] {
            let expected = [with, without].map(normalized);
            assert_eq!(outcomes(function), expected, "{function}");
        }
    }

    #[test]
    fn compiler_attributes_are_left_alone() {
        for function in [
            "#[cfg(a)] fn f() {}",
            "#[cfg_attr(a, doc = \"b\")] fn f() {}",
            "fn f(#[cfg_attr(a, allow(unused))] b: B) { let c = if cfg!(a) { 1 } else { 2 }; }",
            "fn f() { macro_rules! g { () => { #[cfg(a)] yield_!(1); } } }",
        ] {
            let function: ItemFn = syn::parse_str(function).unwrap();
            assert!(first_predicate(&function).is_none());
        }
    }
}
