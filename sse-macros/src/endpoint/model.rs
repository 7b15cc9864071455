//! The model: what the attribute, the signature and the body say together.

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use syn::{FnArg, Item, ItemFn, Stmt, Type};

use super::{
    args::Args,
    body::{self, Body},
    lints::{
        blocking::{self, Suspect},
        early_yield,
        locks::{self, Held},
        loops,
    },
    misplaced,
    returns::{Returns, returns},
};
use crate::support::{errors::Errors, runtime_path::Runtime};

pub(crate) struct Endpoint {
    pub(crate) args: Args,
    pub(crate) runtime: Runtime,
    /// The function without its body.
    pub(crate) function: ItemFn,
    /// `None`, where the return type is not one that we know; that has been said.
    pub(crate) returns: Option<Returns>,
    pub(crate) body: Body,
    pub(crate) suspects: Vec<Suspect>,
    /// Guards of locks that are held across a `yield_!`.
    pub(crate) held_locks: Vec<Held>,
    /// A loop of its own that nothing leaves.
    pub(crate) never_ending: Option<Span>,
    /// A first `yield_!` with something below it that can fail before the next one.
    pub(crate) early_yield: Option<Span>,
}

/// The user's function, with its body beside it.
pub(crate) struct Function {
    function: ItemFn,
    statements: Statements,
}

enum Statements {
    Read(Vec<Stmt>),
    /// They do not parse.
    Unread(TokenStream),
}

/// The function under the attribute; else the item as it was, to be left where it stands.
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
    const MESSAGE: &str = "`#[sse_endpoint]` goes on an `async fn`";
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

/// A function whose body does not parse.
///
/// It goes on as it is: the compiler says what is wrong with it, better than we could and only once; the rest of the
/// file finds the endpoint all the same; and an editor that completes what is being typed finds it in the expansion.
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
    /// What an attribute above this one has made of the function, as an error at that attribute.
    pub(crate) fn rewritten(&self) -> Option<syn::Error> {
        match &self.statements {
            Statements::Read(statements) => misplaced::above(&self.function.sig.ident, statements),
            Statements::Unread(_) => None,
        }
    }
}

impl Endpoint {
    pub(crate) fn new(args: Args, function: Function, errors: &mut Errors) -> Self {
        let Function {
            mut function,
            statements,
        } = function;
        refuse_second_attributes(&mut function, errors);
        refuse_argument_attributes(&mut function, errors);
        let returns = returns(&function, errors);
        let form = returns.as_ref().map(Returns::form);
        // What does not parse is not judged.
        let (suspects, held_locks, never_ending, early_yield) = match &statements {
            Statements::Read(statements) => (
                blocking::find(statements),
                locks::held_across_yield(statements),
                loops::never_ending(statements),
                early_yield::early_yield(statements),
            ),
            Statements::Unread(_) => (Vec::new(), Vec::new(), None, None),
        };
        let runtime = Runtime::new(args.runtime.get());
        let body = match statements {
            Statements::Read(statements) => {
                body::read(statements, form, &runtime, &function.sig.ident, errors)
            }
            Statements::Unread(tokens) => Body::unread(tokens),
        };
        Self {
            args,
            runtime,
            function,
            returns,
            body,
            suspects,
            held_locks,
            never_ending,
            early_yield,
        }
    }

    /// The types of the arguments, which are extractors.
    pub(crate) fn extractors(&self) -> impl Iterator<Item = &Type> {
        self.function.sig.inputs.iter().filter_map(|arg| match arg {
            FnArg::Typed(arg) => Some(&*arg.ty),
            FnArg::Receiver(_) => None,
        })
    }
}

/// Takes attributes away that would make something else of the function.
fn refuse_second_attributes(function: &mut ItemFn, errors: &mut Errors) {
    function.attrs.retain(|attribute| {
        let problem = misplaced::below(attribute.path());
        if let Some(problem) = &problem {
            errors.at(attribute, problem);
        }
        problem.is_none()
    });
}

/// Removes the attributes of arguments that the compiler would refuse as well.
fn refuse_argument_attributes(function: &mut ItemFn, errors: &mut Errors) {
    const TAKEN: [&str; 6] = ["allow", "cfg_attr", "deny", "expect", "forbid", "warn"];
    for input in &mut function.sig.inputs {
        let FnArg::Typed(argument) = input else {
            continue;
        };
        argument.attrs.retain(|attribute| {
            let is_taken = TAKEN.iter().any(|name| attribute.path().is_ident(name));
            if !is_taken {
                let problem = match attribute.path().is_ident("doc") {
                    true => "an argument has no doc comment; describe it in that of the endpoint",
                    false => "an endpoint's argument takes `#[cfg]` and the attributes of lints only; remove this",
                };
                errors.at(attribute, problem);
            }
            is_taken
        });
    }
}
