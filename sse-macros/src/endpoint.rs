//! The model: what the attribute, the signature and the body say together.

use proc_macro2::TokenStream;
use quote::{ToTokens as _, quote};
use syn::{
    AssocType, FnArg, GenericArgument, Item, ItemFn, PathArguments, ReturnType, Type,
    TypeImplTrait, TypeParamBound,
};

use crate::{
    args::Args,
    body::{self, Body},
    errors::Errors,
};

pub(crate) struct Endpoint {
    pub(crate) args: Args,
    /// The function without its body.
    pub(crate) function: ItemFn,
    /// `None`, where the return type is not one that we know; that has been said.
    pub(crate) returns: Option<Returns>,
    pub(crate) body: Body,
}

/// What the return type says: what the stream carries, and when the response begins.
pub(crate) struct Returns {
    /// `impl Stream<Item = …>`, as the user wrote it.
    pub(crate) stream: TypeImplTrait,
    /// What stands behind `Item =`.
    pub(crate) whole_item: Type,
    /// `T`, where it is written out: `Item = T`, or `Item = Result<T, E>`.
    pub(crate) item: Option<Type>,
    /// The error of the stream, for a stream that can fail.
    pub(crate) stream_error: Option<ErrorType>,
    /// The error of the response, for a response that can fail.
    pub(crate) response_error: Option<ErrorType>,
}

/// The error in a `Result`.
pub(crate) enum ErrorType {
    /// The second argument, written out.
    Written(Type),
    /// Hidden in an alias, such as `anyhow::Result<…>`: the type to ask, whose `Ok` does not matter.
    Of(TokenStream),
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
}

impl Returns {
    pub(crate) fn form(&self) -> Form {
        match (&self.response_error, &self.stream_error) {
            (None, None) => Form::Stream,
            (None, Some(_)) => Form::TryStream,
            (Some(_), None) => Form::Response,
            (Some(_), Some(_)) => Form::TryResponse,
        }
    }
}

/// The function under the attribute; else the item as it was, to be left where it stands.
pub(crate) fn function(item: TokenStream, errors: &mut Errors) -> Result<ItemFn, TokenStream> {
    let other = match syn::parse2::<Item>(item.clone()) {
        Ok(Item::Fn(function)) => return Ok(function),
        Ok(other) => other,
        Err(error) => {
            errors.push(error);
            return Err(item);
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

impl Endpoint {
    pub(crate) fn new(args: Args, mut function: ItemFn, errors: &mut Errors) -> Self {
        let returns = returns(&function, errors);
        let form = returns.as_ref().map(Returns::form);
        let statements = std::mem::take(&mut function.block.stmts);
        let runtime = args.runtime();
        let body = body::read(statements, form, &runtime, &function.sig.ident, errors);
        Self {
            args,
            function,
            returns,
            body,
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

impl Args {
    /// The path of the runtime, which a renamed dependency changes.
    pub(crate) fn runtime(&self) -> TokenStream {
        match self.runtime.get() {
            Some(path) => path.to_token_stream(),
            None => quote!(::sse_runtime),
        }
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
                format_args!("{FORMS}; this one says neither"),
            );
            return None;
        }
    };
    match ty {
        Type::ImplTrait(stream) => stream_item(stream, None, errors),
        Type::Path(path) => {
            let arguments = result_arguments(ty);
            match arguments.as_deref().and_then(<[&Type]>::first).copied() {
                Some(Type::ImplTrait(stream)) => {
                    let error = match arguments.as_deref() {
                        Some([_, error]) => ErrorType::Written((*error).clone()),
                        _ => ErrorType::Of(with_unit(&path.path)),
                    };
                    stream_item(stream, Some(error), errors)
                }
                _ => unknown(ty, errors),
            }
        }
        _ => unknown(ty, errors),
    }
}

fn unknown(ty: &Type, errors: &mut Errors) -> Option<Returns> {
    let found = spelled(ty);
    errors.at(ty, format_args!("{FORMS}; found `{found}`"));
    None
}

/// `anyhow::Result<impl Stream<…>>` as `anyhow::Result<()>`: its error can be asked for, an `impl Trait` cannot.
fn with_unit(path: &syn::Path) -> TokenStream {
    let mut path = path.clone();
    if let Some(segment) = path.segments.last_mut()
        && let PathArguments::AngleBracketed(arguments) = &mut segment.arguments
        && let Some(GenericArgument::Type(ty)) = arguments.args.first_mut()
    {
        *ty = syn::parse_quote!(());
    }
    path.into_token_stream()
}

fn stream_item(
    stream: &TypeImplTrait,
    response_error: Option<ErrorType>,
    errors: &mut Errors,
) -> Option<Returns> {
    let Some((bound, item)) = stream.bounds.iter().find_map(named_item) else {
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
    let whole_item = item.clone();
    let (item, stream_error) = match result_arguments(item).as_deref() {
        None => (Some(item.clone()), None),
        Some([item, error]) => (
            Some((*item).clone()),
            Some(ErrorType::Written((*error).clone())),
        ),
        Some(_) => (None, Some(ErrorType::Of(item.to_token_stream()))),
    };
    Some(Returns {
        stream: stream.clone(),
        whole_item,
        item,
        stream_error,
        response_error,
    })
}

/// The name of a bound, and what stands behind its `Item =`.
fn named_item(bound: &TypeParamBound) -> Option<(&syn::Ident, &Type)> {
    let TypeParamBound::Trait(bound) = bound else {
        return None;
    };
    let segment = bound.path.segments.last()?;
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else {
        return None;
    };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::AssocType(AssocType { ident, ty, .. }) if ident == "Item" => {
            Some((&segment.ident, unwrap_groups(ty)))
        }
        _ => None,
    })
}

/// The type arguments of what is called `Result`; that it is the standard library's is checked where it is used.
fn result_arguments(ty: &Type) -> Option<Vec<&Type>> {
    type_arguments(ty, "Result")
}

/// The type arguments of a path that ends with this name.
pub(crate) fn type_arguments<'a>(ty: &'a Type, name: &str) -> Option<Vec<&'a Type>> {
    let Type::Path(path) = ty else { return None };
    let segment = path
        .path
        .segments
        .last()
        .filter(|last| last.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else {
        return Some(Vec::new());
    };
    let types = arguments.args.iter().filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(unwrap_groups(ty)),
        _ => None,
    });
    Some(types.collect())
}

/// A type without the invisible groups that macros leave, and without parentheses.
fn unwrap_groups(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => unwrap_groups(&group.elem),
        Type::Paren(paren) => unwrap_groups(&paren.elem),
        ty => ty,
    }
}

/// A type as a person writes it.
pub(crate) fn spelled(ty: &Type) -> String {
    let tokens = ty.to_token_stream().to_string();
    let mut spelled = tokens;
    for (loose, tight) in [
        (" < ", "<"),
        (" <", "<"),
        ("< ", "<"),
        (" >", ">"),
        (" , ", ", "),
        (" :: ", "::"),
        (":: ", "::"),
        (" ::", "::"),
        ("& ", "&"),
        (" ,", ","),
    ] {
        spelled = spelled.replace(loose, tight);
    }
    spelled
}
