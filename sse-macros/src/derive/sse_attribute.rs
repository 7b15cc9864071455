//! Parses `#[sse(…)]`, the helper attribute that both derives use.

use proc_macro2::{Ident, Span, TokenStream};
use syn::{
    Attribute, Lit, Meta, Token,
    ext::IdentExt as _,
    parse::{ParseStream, Parser as _},
};

use crate::support::{
    comma_list::split_at_commas,
    errors::{Errors, did_you_mean, one_of},
};

/// A place where `#[sse(…)]` is allowed, such as a field. `keys` lists the keys that are valid in
/// this place, each with an example.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) keys: &'static [(&'static str, &'static str)],
}

impl Target {
    fn example(&self) -> &'static str {
        self.keys.first().map_or("", |(_, example)| *example)
    }
}

/// A key and its value.
pub(crate) struct Entry {
    pub(crate) key: Ident,
    value: Value,
}

enum Value {
    None,
    Is(TokenStream),
    List(TokenStream),
    /// A value after a colon, as in a struct literal. Such a value is an error.
    Colon(TokenStream),
}

impl Entry {
    pub(crate) fn span(&self) -> Span {
        self.key.span()
    }

    /// Returns the span of the key, or an error if the key has a value.
    pub(crate) fn flag(&self) -> syn::Result<Span> {
        match &self.value {
            Value::None => Ok(self.span()),
            Value::Is(tokens) | Value::List(tokens) | Value::Colon(tokens) => {
                Err(syn::Error::new_spanned(
                    tokens,
                    format_args!("`{}` does not take a value; remove the value", self.key),
                ))
            }
        }
    }

    /// Returns the tokens after `key =`.
    pub(crate) fn value(&self, example: &str) -> syn::Result<TokenStream> {
        match &self.value {
            Value::Is(tokens) if !tokens.is_empty() => Ok(tokens.clone()),
            _ => Err(syn::Error::new(
                self.span(),
                format_args!("`{}` requires a value, such as `{example}`", self.key),
            )),
        }
    }

    /// Returns the string after `key =`.
    pub(crate) fn text(&self, example: &str) -> syn::Result<syn::LitStr> {
        let value = self.value(example)?;
        match syn::parse2(value.clone()) {
            Ok(Lit::Str(text)) => Ok(text),
            _ => Err(syn::Error::new_spanned(
                value,
                format_args!("expected a string, such as `{example}`"),
            )),
        }
    }

    /// Returns the names in `key(…)`.
    pub(crate) fn names(&self, example: &str) -> syn::Result<Vec<Ident>> {
        match &self.value {
            Value::List(names) => {
                let names = syn::punctuated::Punctuated::<Ident, Token![,]>::parse_terminated
                    .parse2(names.clone())?;
                Ok(names.into_iter().collect())
            }
            _ => Err(syn::Error::new(
                self.span(),
                format_args!("expected warning names in parentheses, such as `{example}`"),
            )),
        }
    }
}

/// Returns the entries from every `#[sse(…)]` attribute in `attributes`. Reports and omits every
/// entry that is invalid on the target.
pub(crate) fn entries(
    attributes: &[Attribute],
    target: &Target,
    others: &[Target],
    errors: &mut Errors,
) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for attribute in attributes {
        if !attribute.path().is_ident("sse") {
            continue;
        }
        let Meta::List(list) = &attribute.meta else {
            let examples: Vec<_> = target.keys.iter().map(|(_, example)| *example).collect();
            errors.at(
                attribute,
                format_args!(
                    "missing key in parentheses; {}",
                    one_of(examples.iter().map(|example| format!("#[sse({example})]")))
                ),
            );
            continue;
        };
        for part in split_at_commas(list.tokens.clone(), errors) {
            match (|input: ParseStream<'_>| entry(input, target))
                .parse2(part)
                .and_then(|entry| known(entry, target, others))
            {
                Ok(entry) if entries.iter().any(|other| other.key == entry.key) => {
                    errors.at(&entry.key, format_args!("duplicate key `{}`", entry.key));
                }
                Ok(entry) => entries.push(entry),
                Err(error) => errors.push(error),
            }
        }
    }
    entries
}

fn entry(input: ParseStream<'_>, target: &Target) -> syn::Result<Entry> {
    let key = input.call(Ident::parse_any).map_err(|error| {
        let problem = format_args!("expected a key, such as `{}`", target.example());
        syn::Error::new(error.span(), problem)
    })?;
    let value = if input.is_empty() {
        Value::None
    } else if input.peek(Token![:]) {
        Value::Colon(input.parse()?)
    } else if input.peek(Token![=]) {
        input.parse::<Token![=]>()?;
        Value::Is(input.parse()?)
    } else if input.peek(syn::token::Paren) {
        let content;
        syn::parenthesized!(content in input);
        Value::List(content.parse()?)
    } else {
        let extra = input.span();
        input.parse::<TokenStream>()?;
        return Err(syn::Error::new(extra, "expected `,`"));
    };
    Ok(Entry { key, value })
}

fn has_key(target: &Target, name: &str) -> bool {
    target.keys.iter().any(|(known, _)| *known == name)
}

/// Rejects a key that is not allowed on the target. The error lists the targets that allow the key.
fn known(entry: Entry, target: &Target, others: &[Target]) -> syn::Result<Entry> {
    let name = entry.key.to_string();
    let has = |target: &Target| has_key(target, &name);
    if has(target) {
        return Ok(entry);
    }
    let at = target.name;
    let elsewhere: Vec<_> = others
        .iter()
        .filter(|target| has(target))
        .map(|target| target.name)
        .collect();
    if !elsewhere.is_empty() {
        return Err(syn::Error::new(
            entry.span(),
            format_args!(
                "`{name}` is allowed on {}, not on {at}",
                elsewhere.join(" or ")
            ),
        ));
    }
    let names = target.keys.iter().map(|(name, _)| *name);
    // Users might write `name` or `rename`, because other crates use these names for keys with the
    // same purpose.
    let given = match name.as_str() {
        "name" | "rename" if has_key(target, "event") => "event",
        "name" | "rename" if has_key(target, "code") => "code",
        given => given,
    };
    let meant = match did_you_mean(given, names.clone()) {
        Some(meant) => format!("; did you mean `{meant}`?"),
        None => String::new(),
    };
    let options = names.collect::<Vec<_>>().join(", ");
    Err(syn::Error::new(
        entry.span(),
        format_args!("unknown key `{name}`{meant} (available keys: {options})"),
    ))
}
