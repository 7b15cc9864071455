//! The model: what the attribute, the signature and the body say together.

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use quote::ToTokens as _;
use syn::{
    AssocType, FnArg, GenericArgument, Item, ItemFn, PathArguments, ReturnType, Stmt, Type,
    TypeImplTrait, TypeParamBound, spanned::Spanned as _,
};

use crate::{
    args::Args,
    body::{self, Body},
    early,
    errors::Errors,
    locks::{self, Held},
    loops, misplaced,
    runtime::Runtime,
    suspects::{self, Suspect},
    types::{borrows, make_static, spelled, type_arguments, unwrap_groups},
};

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

/// What the return type says: what the stream carries, and when the response begins.
pub(crate) struct Returns {
    /// `impl Stream<Item = …>`, as the user wrote it.
    pub(crate) stream: TypeImplTrait,
    /// What stands behind `Item =`.
    pub(crate) carried: Type,
    /// Where `T` is named in it.
    pub(crate) item: Span,
    /// Where the error of the stream is named, for a stream that can fail.
    pub(crate) stream_error: Option<Span>,
    /// For a response that can fail.
    pub(crate) response: Option<Response>,
}

/// The `Result` around the stream.
pub(crate) struct Response {
    /// It, with `()` where the stream stood: its error can be asked for, an `impl Trait` cannot.
    pub(crate) result: TokenStream,
    /// Where its error is named.
    pub(crate) error: Span,
}

/// Where an error leads, in which part of which form.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `impl Stream<Item = T>`
    Stream,
    /// `impl Stream<Item = Result<T, E>>`
    TryStream,
    /// `Result<impl Stream<Item = T>, R>`
    Response,
    /// `Result<impl Stream<Item = Result<T, E>>, R>`
    TryResponse,
}

impl Form {
    pub(crate) fn has_prelude(self) -> bool {
        matches!(self, Self::Response | Self::TryResponse)
    }

    pub(crate) fn stream_fails(self) -> bool {
        matches!(self, Self::TryStream | Self::TryResponse)
    }
}

impl Returns {
    pub(crate) fn form(&self) -> Form {
        match (&self.response, &self.stream_error) {
            (None, None) => Form::Stream,
            (None, Some(_)) => Form::TryStream,
            (Some(_), None) => Form::Response,
            (Some(_), Some(_)) => Form::TryResponse,
        }
    }

    /// Whether the response and the stream fail with one error, as far as it is spelled.
    pub(crate) fn has_one_error(&self) -> bool {
        match (&self.response, &self.carried) {
            (Some(response), Type::Path(carried)) => {
                with_unit(&carried.path).to_string() == response.result.to_string()
            }
            _ => false,
        }
    }
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
                suspects::find(statements),
                locks::held_across_yield(statements),
                loops::never_ending(statements),
                early::early_yield(statements),
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

const FORMS: &str =
    "an endpoint returns `impl Stream<Item = T>`, or `Result<impl Stream<Item = T>, E>`";

fn returns(function: &ItemFn, errors: &mut Errors) -> Option<Returns> {
    let ty = match &function.sig.output {
        ReturnType::Type(_, ty) => unwrap_groups(ty),
        ReturnType::Default => {
            errors.at(
                &function.sig.ident,
                format_args!("{FORMS}; this one returns nothing"),
            );
            return None;
        }
    };
    match ty {
        Type::ImplTrait(stream) => carried(stream, None, errors),
        Type::Path(path) => {
            let arguments = type_arguments(ty, "Result").unwrap_or_default();
            let Some(Type::ImplTrait(stream)) = arguments.first() else {
                return unknown(ty, errors);
            };
            let response = Response {
                result: with_unit(&path.path),
                error: arguments
                    .get(1)
                    .map_or(ty.span(), syn::spanned::Spanned::span),
            };
            carried(stream, Some(response), errors)
        }
        _ => unknown(ty, errors),
    }
}

fn unknown(ty: &Type, errors: &mut Errors) -> Option<Returns> {
    let found = spelled(ty);
    errors.at(ty, format_args!("{FORMS}; found `{found}`"));
    None
}

/// `Result<impl Stream<…>, E>` as `Result<(), E>`.
fn with_unit(path: &syn::Path) -> TokenStream {
    let mut path = path.clone();
    if let Some(segment) = path.segments.last_mut()
        && let PathArguments::AngleBracketed(arguments) = &mut segment.arguments
        && let Some(GenericArgument::Type(ty)) = arguments.args.first_mut()
    {
        // Where it stands, a missing error type is reported, and put.
        let end = ty.to_token_stream().into_iter().last();
        let end = end.map_or_else(Span::call_site, |token| token.span());
        *ty = syn::parse_quote_spanned!(end=> ());
    }
    path.into_token_stream()
}

fn carried(
    stream: &TypeImplTrait,
    response: Option<Response>,
    errors: &mut Errors,
) -> Option<Returns> {
    let mut stream = stream.clone();
    name_item(&mut stream, errors);
    let Some((bound, carried)) = item_of(&mut stream) else {
        errors.at(
            stream,
            "say what the stream carries: `impl Stream<Item = T>`",
        );
        return None;
    };
    if bound == "Iterator" {
        errors.at(stream, format_args!("{FORMS}; found an `Iterator`"));
        return None;
    }
    if matches!(carried, Type::ImplTrait(_)) {
        errors.at(
            carried,
            "the item is one concrete type; write it out instead of `impl Trait`",
        );
        return None;
    }
    if borrows(carried) {
        let found = spelled(carried);
        let written = carried.clone();
        make_static(carried);
        errors.at(
            written,
            format_args!(
                "`{found}` borrows, and an item outlives what it could borrow from; write an owned type, or `{}`",
                spelled(carried)
            ),
        );
    }
    let carried = carried.clone();
    let result = type_arguments(unwrap_groups(&carried), "Result");
    let (item, stream_error) = match result.as_deref() {
        None => (carried.span(), None),
        Some([item, error]) => (item.span(), Some(error.span())),
        // An alias, such as `anyhow::Result<T>`, hides its error.
        Some(_) => (carried.span(), Some(carried.span())),
    };
    Some(Returns {
        stream,
        item,
        stream_error,
        carried,
        response,
    })
}

/// `Stream<T>` as `Stream<Item = T>`; says that it has to be.
fn name_item(stream: &mut TypeImplTrait, errors: &mut Errors) {
    for argument in stream.bounds.iter_mut().flat_map(generic_arguments) {
        if let GenericArgument::Type(item) = argument {
            errors.at(
                &*item,
                format_args!("name what the stream carries: `Item = {}`", spelled(item)),
            );
            *argument = syn::parse_quote!(Item = #item);
        }
    }
}

/// The name of the trait that has an `Item`, and what stands behind `Item =`.
pub(crate) fn item_of(stream: &mut TypeImplTrait) -> Option<(syn::Ident, &mut Type)> {
    stream.bounds.iter_mut().find_map(|bound| {
        let name = match bound {
            TypeParamBound::Trait(bound) => bound.path.segments.last()?.ident.clone(),
            _ => return None,
        };
        generic_arguments(bound).find_map(|argument| match argument {
            GenericArgument::AssocType(AssocType { ident, ty, .. }) if ident == "Item" => {
                Some((name.clone(), ty))
            }
            _ => None,
        })
    })
}

/// The arguments in the angle brackets at the end of a bound.
fn generic_arguments(bound: &mut TypeParamBound) -> impl Iterator<Item = &mut GenericArgument> {
    let last = match bound {
        TypeParamBound::Trait(bound) => bound.path.segments.last_mut(),
        _ => None,
    };
    let arguments = last.and_then(|last| match &mut last.arguments {
        PathArguments::AngleBracketed(arguments) => Some(arguments.args.iter_mut()),
        _ => None,
    });
    arguments.into_iter().flatten()
}
