//! Examines and rewrites the function body. `contents`, `facts` and `tail` examine the statements, and
//! `rewrite` changes some of their expressions.

mod contents;
pub(super) mod facts;
pub(super) mod known_macros;
mod rewrite;
mod tail;
pub(super) mod tokens;
pub(super) mod yields;

use proc_macro2::{Ident, TokenStream};
use quote::quote;
use syn::{Expr, Stmt};

use self::{
    contents::contents,
    facts::{needs_yield_macros, yield_predicate},
    rewrite::rewrite,
    tail::refuse_tail_value,
};
use super::returns::Form;
use crate::support::{errors::Errors, runtime_path::Runtime};

pub(crate) struct Body {
    pub(crate) statements: Vec<Stmt>,
    /// The index of the first statement that yields. The response begins before this statement.
    pub(crate) first_yield: Option<usize>,
    /// Whether the expansion must define `yield_!` and `yield_all!` because some calls may not have
    /// been rewritten.
    pub(crate) needs_yield_macros: bool,
    /// The things that the stream may contain besides its items, as names of variants of the
    /// runtime's `Content`.
    pub(crate) contents: Vec<&'static str>,
}

impl Body {
    /// Keeps the tokens of a body that does not parse.
    pub(crate) fn unread(tokens: TokenStream) -> Self {
        Self {
            statements: vec![Stmt::Expr(Expr::Verbatim(tokens), None)],
            first_yield: None,
            needs_yield_macros: true,
            contents: Vec::new(),
        }
    }
}

/// Examines the statements and rewrites them according to the endpoint's form.
pub(crate) fn read(
    mut statements: Vec<Stmt>,
    form: Option<Form>,
    runtime: &Runtime,
    name: &Ident,
    errors: &mut Errors,
) -> Body {
    let contents = contents(&statements);
    let first_yield = statements.iter().position(yield_predicate(&statements));
    let returns_stream = refuse_tail_value(&mut statements, form, first_yield.is_some(), errors);
    let facts = rewrite(&mut statements, first_yield, form, runtime, name, errors);
    let yields = first_yield.is_some() || returns_stream || facts.yields;
    if !yields && !facts.has_unknown_macro {
        errors.at(
            name,
            format_args!(
                "endpoint `{name}` never yields an event; add `yield_!(…)` or `yield_all!(stream)`, or remove the attribute"
            ),
        );
    }
    Body {
        needs_yield_macros: needs_yield_macros(quote!(#(#statements)*)),
        statements,
        first_yield,
        contents,
    }
}
