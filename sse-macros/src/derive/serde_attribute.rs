//! Parses the parts of `#[serde(…)]` that affect this crate's derives. serde's own derive handles
//! the rest.

use proc_macro2::TokenStream;
use quote::{ToTokens as _, quote};
use syn::{
    Attribute, LitStr, Meta, Token, WherePredicate, parse::Parser as _, punctuated::Punctuated,
};

/// Returns the items in a single `#[serde(…)]` attribute, or `None` if the attribute is malformed.
/// serde's own derive reports malformed attributes.
fn of_one(attribute: &Attribute) -> Option<Punctuated<Meta, Token![,]>> {
    match &attribute.meta {
        Meta::List(list) if list.path.is_ident("serde") => list
            .parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
            .ok(),
        _ => None,
    }
}

/// Returns the items from every `#[serde(…)]` attribute in `attributes`.
fn items(attributes: &[Attribute]) -> Vec<Meta> {
    attributes.iter().filter_map(of_one).flatten().collect()
}

fn has(attributes: &[Attribute], names: &[&str]) -> bool {
    items(attributes)
        .iter()
        .any(|item| names.iter().any(|name| item.path().is_ident(name)))
}

/// Returns `true` if the serializer skips this field or variant.
pub(crate) fn skips_serializing(attributes: &[Attribute]) -> bool {
    has(attributes, &["skip", "skip_serializing"])
}

/// Returns `true` if the attributes change serde's default representation of a container or
/// variant.
pub(crate) fn has_custom_form(attributes: &[Attribute]) -> bool {
    has(attributes, &["untagged", "transparent", "into", "tag"])
}

/// Returns `true` if the container is serialized as another type.
pub(crate) fn is_converted(attributes: &[Attribute]) -> bool {
    has(attributes, &["into", "transparent"])
}

/// Returns `true` if the deserializer skips this field or variant.
pub(crate) fn skips_deserializing(attributes: &[Attribute]) -> bool {
    has(attributes, &["skip", "skip_deserializing"])
}

/// Returns a variant's `untagged` item, if any.
pub(crate) fn untagged(attributes: &[Attribute]) -> Option<Meta> {
    items(attributes)
        .into_iter()
        .find(|item| item.path().is_ident("untagged"))
}

/// Returns the first item.
pub(crate) fn first(attributes: &[Attribute]) -> Option<Meta> {
    items(attributes).into_iter().next()
}

/// Returns `true` if a custom function serializes this field. In that case, the field's type need
/// not implement `Serialize`.
pub(crate) fn has_custom_serializer(attributes: &[Attribute]) -> bool {
    has(attributes, &["with", "serialize_with"])
}

/// Returns `true` if the field or variant has `serialize_with`.
pub(crate) fn has_serialize_with(attributes: &[Attribute]) -> bool {
    has(attributes, &["serialize_with"])
}

/// Returns the first item that serde's own derives support but `SseError` does not.
pub(crate) fn unread(attributes: &[Attribute]) -> Option<Meta> {
    const READ: [&str; 8] = [
        "alias",
        "default",
        "deserialize_with",
        "rename",
        "skip",
        "skip_deserializing",
        "skip_serializing",
        "skip_serializing_if",
    ];
    items(attributes)
        .into_iter()
        .find(|item| !READ.iter().any(|name| item.path().is_ident(name)))
}

/// Returns the value of `key = "…"` or `key(serialize = "…")`.
pub(crate) fn for_serializing(attributes: &[Attribute], key: &str) -> Option<LitStr> {
    items(attributes).into_iter().find_map(|item| match item {
        Meta::NameValue(pair) if pair.path.is_ident(key) => text(&pair.value),
        Meta::List(list) if list.path.is_ident(key) => {
            let pairs = list
                .parse_args_with(Punctuated::<syn::MetaNameValue, Token![,]>::parse_terminated)
                .ok()?;
            let pair = pairs
                .into_iter()
                .find(|pair| pair.path.is_ident("serialize"))?;
            text(&pair.value)
        }
        _ => None,
    })
}

fn text(value: &syn::Expr) -> Option<LitStr> {
    match value {
        syn::Expr::Lit(syn::ExprLit {
            lit: syn::Lit::Str(text),
            ..
        }) => Some(text.clone()),
        _ => None,
    }
}

/// Returns the predicates in `bound = "…"`.
pub(crate) fn bound(attributes: &[Attribute]) -> Option<Vec<WherePredicate>> {
    let text = for_serializing(attributes, "bound")?;
    let parse = Punctuated::<WherePredicate, Token![,]>::parse_terminated;
    let predicates = parse.parse_str(&text.value()).ok()?;
    Some(predicates.into_iter().collect())
}

/// Returns the container's attributes to pass to serde's derive, except for the items that the
/// macro sets itself.
pub(crate) fn of_container(attributes: &[Attribute]) -> TokenStream {
    let kept = attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("serde"))
        .map(|attribute| match of_one(attribute) {
            None => attribute.to_token_stream(),
            Some(items) => {
                let items = items.into_iter().filter(|item| {
                    !["crate", "remote", "bound"]
                        .iter()
                        .any(|ours| item.path().is_ident(ours))
                });
                quote!(#(#[serde(#items)])*)
            }
        });
    quote!(#(#kept)*)
}

/// Removes every attribute except `serde`, `allow` and `expect`.
pub(crate) fn retain(attributes: &mut Vec<Attribute>) {
    attributes.retain_mut(|attribute| {
        if let Meta::List(list) = &mut attribute.meta
            && list.path.is_ident("expect")
        {
            // Replace `expect` with `allow`. If the lint did not fire in the copy, the compiler
            // would warn that the `expect` is unfulfilled.
            list.path = syn::parse_quote!(allow);
        }
        attribute.path().is_ident("serde") || attribute.path().is_ident("allow")
    });
}
