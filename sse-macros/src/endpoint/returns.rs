//! Parses the return type, which determines the stream's item type. The return type also determines
//! whether the endpoint can fail before the response begins, in the stream, or both.

use proc_macro2::{Span, TokenStream};
use quote::ToTokens as _;
use syn::{
    AssocType, GenericArgument, ItemFn, PathArguments, ReturnType, Type, TypeImplTrait,
    TypeParamBound, spanned::Spanned as _,
};

use crate::support::{
    errors::Errors,
    types::{borrows, make_static, spelled, type_arguments, unwrap_groups},
};

/// The parsed return type.
pub(crate) struct Returns {
    /// `impl Stream<Item = …>`, as the user wrote it.
    pub(crate) stream: TypeImplTrait,
    /// The type after `Item =`.
    pub(crate) carried: Type,
    /// The span of the item type `T` in `carried`.
    pub(crate) item: Span,
    /// The span of the stream's error type, if the stream can fail.
    pub(crate) stream_error: Option<Span>,
    /// The outer `Result`, if the response can fail.
    pub(crate) response: Option<Response>,
}

/// The `Result` around the stream.
pub(crate) struct Response {
    /// The `Result` type, with `()` instead of the stream. The expansion names the error type
    /// through a projection from this type, which must not contain an `impl Trait`.
    pub(crate) result: TokenStream,
    /// The span of the error type.
    pub(crate) error: Span,
}

/// The four forms of a return type, which differ in where errors are allowed.
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

    /// Returns `true` if the response and the stream have the same error type. Only the spelling of
    /// the two types is compared.
    pub(crate) fn has_one_error(&self) -> bool {
        match (&self.response, &self.carried) {
            (Some(response), Type::Path(carried)) => {
                with_unit(&carried.path).to_string() == response.result.to_string()
            }
            _ => false,
        }
    }
}

const FORMS: &str =
    "an endpoint must return `impl Stream<Item = T>` or `Result<impl Stream<Item = T>, E>`";

/// Parses the return type. Returns `None` after reporting an error.
pub(crate) fn returns(function: &ItemFn, errors: &mut Errors) -> Option<Returns> {
    let ty = match &function.sig.output {
        ReturnType::Type(_, ty) => unwrap_groups(ty),
        ReturnType::Default => {
            errors.at(
                &function.sig.ident,
                format_args!("{FORMS}; found no return type"),
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

/// Converts `Result<impl Stream<…>, E>` to `Result<(), E>`.
fn with_unit(path: &syn::Path) -> TokenStream {
    let mut path = path.clone();
    if let Some(segment) = path.segments.last_mut()
        && let PathArguments::AngleBracketed(arguments) = &mut segment.arguments
        && let Some(GenericArgument::Type(ty)) = arguments.args.first_mut()
    {
        // A missing error type is reported at this span.
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
            "expected a stream with an item type, such as `impl Stream<Item = T>`",
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
            "the item cannot be `impl Trait`; write its concrete type",
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
                "`{found}` borrows, but an item must be `'static`; use an owned type, or `{}`",
                spelled(carried)
            ),
        );
    }
    let carried = carried.clone();
    let result = type_arguments(unwrap_groups(&carried), "Result");
    let (item, stream_error) = match result.as_deref() {
        None => (carried.span(), None),
        Some([item, error]) => (item.span(), Some(error.span())),
        // An alias such as `anyhow::Result<T>` hides its error type, so the compiler's errors point
        // at the whole alias.
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

/// Reports `Stream<T>` and converts it to `Stream<Item = T>`.
fn name_item(stream: &mut TypeImplTrait, errors: &mut Errors) {
    for argument in stream.bounds.iter_mut().flat_map(generic_arguments) {
        if let GenericArgument::Type(item) = argument {
            errors.at(
                &*item,
                format_args!(
                    "expected an associated type; write `Item = {}`",
                    spelled(item)
                ),
            );
            *argument = syn::parse_quote!(Item = #item);
        }
    }
}

/// Returns the name of the bound that has an `Item`, and the type after `Item =`.
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

/// Returns the generic arguments of a bound's last path segment.
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
