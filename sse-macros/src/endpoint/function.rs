//! Parses the function that the attribute is applied to.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use syn::{FnArg, Item, ItemFn, Stmt};

use super::misplaced;
use crate::support::errors::Errors;

/// The user's function without its statements, which are stored separately.
pub(crate) struct Function {
    pub(crate) function: ItemFn,
    pub(crate) statements: Statements,
}

pub(crate) enum Statements {
    Read(Vec<Stmt>),
    /// The body does not parse.
    Unread(TokenStream),
}

/// Parses the function. If the item is not a function, reports an error and returns the item
/// unchanged.
pub(crate) fn function(item: TokenStream, errors: &mut Errors) -> Result<Function, TokenStream> {
    let other = match syn::parse2::<Item>(item.clone()) {
        Ok(Item::Fn(mut function)) => {
            let statements = std::mem::take(&mut function.block.stmts);
            return Ok(Function {
                function,
                statements: Statements::Read(statements),
            });
        }
        Ok(other) => other,
        Err(error) => {
            return with_unread_body(item.clone()).ok_or_else(|| {
                errors.push(error);
                item
            });
        }
    };
    const MESSAGE: &str = "`#[sse_endpoint]` can only be applied to an `async fn`";
    match &other {
        Item::Struct(item) => errors.at(item.struct_token, MESSAGE),
        Item::Enum(item) => errors.at(item.enum_token, MESSAGE),
        Item::Impl(item) => errors.at(item.impl_token, MESSAGE),
        Item::Trait(item) => errors.at(item.trait_token, MESSAGE),
        Item::Mod(item) => errors.at(item.mod_token, MESSAGE),
        Item::Const(item) => errors.at(item.const_token, MESSAGE),
        Item::Static(item) => errors.at(item.static_token, MESSAGE),
        other => errors.at(other, MESSAGE),
    }
    Err(item)
}

/// Parses a function whose body contains a syntax error.
///
/// Keeps the body unchanged so that the compiler can report the syntax error accurately and only
/// once. The rest of the file can then still refer to the endpoint, and editors can complete
/// unfinished code.
fn with_unread_body(item: TokenStream) -> Option<Function> {
    let mut tokens: Vec<TokenTree> = item.into_iter().collect();
    let body = match tokens.last_mut() {
        Some(TokenTree::Group(body)) if body.delimiter() == Delimiter::Brace => {
            let unread = body.stream();
            let span = body.span();
            *body = Group::new(Delimiter::Brace, TokenStream::new());
            body.set_span(span);
            unread
        }
        _ => return None,
    };
    let function = syn::parse2(tokens.into_iter().collect()).ok()?;
    Some(Function {
        function,
        statements: Statements::Unread(body),
    })
}

impl Function {
    /// Returns an error if an attribute above this one has rewritten the function.
    pub(crate) fn rewritten(&self) -> Option<syn::Error> {
        match &self.statements {
            Statements::Read(statements) => misplaced::above(&self.function.sig.ident, statements),
            Statements::Unread(_) => None,
        }
    }
}

/// Reports and removes attributes that cannot be below `#[sse_endpoint]`.
pub(crate) fn refuse_second_attributes(function: &mut ItemFn, errors: &mut Errors) {
    function.attrs.retain(|attribute| {
        let problem = misplaced::below(attribute.path());
        if let Some(problem) = &problem {
            errors.at(attribute, problem);
        }
        problem.is_none()
    });
}

/// Reports attributes that are not allowed on arguments. Removes these attributes, because the
/// compiler would report them again.
pub(crate) fn refuse_argument_attributes(function: &mut ItemFn, errors: &mut Errors) {
    const TAKEN: [&str; 6] = ["allow", "cfg_attr", "deny", "expect", "forbid", "warn"];
    for input in &mut function.sig.inputs {
        let FnArg::Typed(argument) = input else {
            continue;
        };
        argument.attrs.retain(|attribute| {
            let is_taken = TAKEN.iter().any(|name| attribute.path().is_ident(name));
            if !is_taken {
                let problem = match attribute.path().is_ident("doc") {
                    true => "an argument cannot have a doc comment; describe the argument in the endpoint's doc comment",
                    false => "an argument can only have `#[cfg]` and lint attributes; remove this attribute",
                };
                errors.at(attribute, problem);
            }
            is_taken
        });
    }
}
